import NIOCore
import NIOPosix
import ShoalCore
import ShoalDiscovery
import ShoalTesting

/// A socket on loopback that speaks to every node's discovery port, and hears what nodes announce.
struct DatagramStranger: Sendable {
    private let sender: any Channel
    private let listener: any Channel
    private let announced: EventRecorder<Beacon>
    private let group: SocketAddress

    /// `answers` gets the datagrams that come to the sending socket.
    static func open(_ answers: EventRecorder<[UInt8]>) async throws -> DatagramStranger {
        let configuration = DiscoveryConfiguration(node: .random(), cluster: ClusterTag(rawValue: 0), linkPort: 1)
        let group = try SocketAddress(
            ipAddress: configuration.multicastGroup4, port: Int(configuration.beaconPort))
        let announced = EventRecorder<Beacon>()
        let sender = try await bootstrap { answers.record($0) }.bind(host: "127.0.0.1", port: 0).get()
        let listener = try await bootstrap { bytes in
            if let beacon = try? BeaconCodec.decode(bytes) { announced.record(beacon) }
        }
        .channelOption(.socketOption(.so_reuseaddr), value: 1)
        .bind(host: "0.0.0.0", port: Int(configuration.beaconPort)).get()
        var loopback = try System.enumerateDevices().first { $0.address?.ipAddress == "127.0.0.1" }
        // Loopback does not claim it, and does it.
        loopback?.multicastSupported = true
        if let channel = listener as? any MulticastChannel {
            try await channel.joinGroup(
                try SocketAddress(ipAddress: configuration.multicastGroup4, port: 0), device: loopback
            )
            .get()
        }
        return DatagramStranger(sender: sender, listener: listener, announced: announced, group: group)
    }

    func send(_ bytes: [UInt8]) async throws {
        let envelope = AddressedEnvelope(remoteAddress: group, data: ByteBuffer(bytes: bytes))
        try await sender.writeAndFlush(envelope).get()
    }

    /// What the node's next announcement says its cluster is.
    func clusterTag(of node: NodeID) async throws -> ClusterTag {
        await announced.first { $0.node == node }.cluster
    }

    func close() async {
        for channel in [sender, listener] { try? await channel.close() }
    }

    private static func bootstrap(_ onDatagram: @escaping @Sendable ([UInt8]) -> Void) -> DatagramBootstrap {
        DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(Listening(onDatagram))
            }
        }
    }

    private final class Listening: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>

        private let onDatagram: @Sendable ([UInt8]) -> Void

        init(_ onDatagram: @escaping @Sendable ([UInt8]) -> Void) { self.onDatagram = onDatagram }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            onDatagram(Array(Self.unwrapInboundIn(data).data.readableBytesView))
        }
    }
}
