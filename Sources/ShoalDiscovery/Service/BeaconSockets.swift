internal import NIOCore
internal import NIOPosix

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#elseif canImport(Darwin)
    internal import Darwin
#else
    #error("no C library for sockets")
#endif

/// The sockets of discovery, on one event loop: one per address to send from, one per family to hear everybody.
///
/// Sending from a socket bound to an interface's address makes that address the one that the receiver sees and dials.
/// Errors of single sockets are normal (an interface is down, an address is still tentative) and are tried again with
/// the next beacon.
final class BeaconSockets {
    typealias OnDatagram = @Sendable (_ bytes: [UInt8], _ source: IPAddress, _ port: UInt16) -> Void

    private let eventLoop: any EventLoop
    private let configuration: DiscoveryConfiguration
    private let onDatagram: OnDatagram
    private var interfaces: [NetworkInterface] = []
    private var senders: [NetworkInterface: EventLoopFuture<any Channel>] = [:]
    private var receivers: [Bool: EventLoopFuture<any Channel>] = [:]

    init(eventLoop: any EventLoop, configuration: DiscoveryConfiguration, onDatagram: @escaping OnDatagram) {
        self.eventLoop = eventLoop
        self.configuration = configuration
        self.onDatagram = onDatagram
    }

    /// Hears and speaks on exactly these from now on.
    func listen(on wanted: [NetworkInterface]) {
        for gone in interfaces where !wanted.contains(gone) {
            senders.removeValue(forKey: gone)?.whenSuccess { $0.close(promise: nil) }
            withGroup(of: gone) { channel, group, device in channel.leaveGroup(group, device: device, promise: nil) }
        }
        interfaces = wanted
        // Leaving by one address may have ended the membership of another address of the same interface: join all
        // again. Joining twice fails and changes nothing.
        for interface in wanted {
            withGroup(of: interface) { channel, group, device in
                channel.joinGroup(group, device: device, promise: nil)
            }
        }
    }

    /// Sends to the multicast group and the broadcast address of `interface`.
    func announce(_ bytes: [UInt8], on interface: NetworkInterface) {
        let group = interface.address.isVersion4 ? configuration.multicastGroup4 : configuration.multicastGroup6
        let targets = [group] + (interface.broadcastAddress.map { [$0.description] } ?? [])
        for target in targets { send(bytes, to: target, port: configuration.beaconPort, from: interface) }
    }

    /// Sends to one node, from the interface whose network it is in.
    func reply(_ bytes: [UInt8], to target: IPAddress, port: UInt16) {
        let sameFamily = interfaces.filter { $0.address.isVersion4 == target.isVersion4 }
        guard let interface = sameFamily.first(where: { $0.contains(target) }) ?? sameFamily.first else { return }
        send(bytes, to: target.description, port: port, from: interface)
    }

    func close() {
        for channel in Array(senders.values) + Array(receivers.values) {
            channel.whenSuccess { $0.close(promise: nil) }
        }
        senders = [:]
        receivers = [:]
        interfaces = []
    }

    private func send(_ bytes: [UInt8], to host: String, port: UInt16, from interface: NetworkInterface) {
        // Our own constants and addresses that arrived as packets: they are addresses.
        guard let target = try? SocketAddress(ipAddress: host, port: Int(port)) else { return }
        let envelope = AddressedEnvelope(remoteAddress: target, data: ByteBuffer(bytes: bytes))
        sender(for: interface).whenSuccess { $0.writeAndFlush(envelope, promise: nil) }
    }

    private func sender(for interface: NetworkInterface) -> EventLoopFuture<any Channel> {
        if let sender = senders[interface] { return sender }
        let sender = bootstrap()
            .channelOption(.socketOption(.so_broadcast), value: 1)
            .bind(host: interface.address.description, port: 0)
        senders[interface] = sender
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        sender.whenFailure { _ in bound.value.senders[interface] = nil }
        return sender.flatMap { channel in Self.aim(channel, at: interface).map { channel } }
    }

    /// Multicast leaves by this interface and dies at the first router.
    private static func aim(_ channel: any Channel, at interface: NetworkInterface) -> EventLoopFuture<Void> {
        guard let options = channel as? any SocketOptionProvider else {
            return channel.eventLoop.makeSucceededVoidFuture()
        }
        let bytes = interface.address.bytes
        let aimed: EventLoopFuture<Void>
        if interface.address.isVersion4 {
            // An `in_addr`: four bytes in network order.
            let address = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
            aimed = options.unsafeSetSocketOption(level: .ip, name: .ip_multicast_if, value: address)
                .and(options.setIPMulticastTTL(1)).map { _ in }
        } else {
            aimed = options.setIPv6MulticastIF(CUnsignedInt(truncatingIfNeeded: interface.index))
                .and(options.setIPv6MulticastHops(1)).map { _ in }
        }
        // Where the option is refused, the address that the socket is bound to decides.
        return aimed.recover { _ in }
    }

    private func withGroup(
        of interface: NetworkInterface,
        _ body: @escaping @Sendable (any MulticastChannel, SocketAddress, NIONetworkDevice) -> Void
    ) {
        let isVersion4 = interface.address.isVersion4
        let group = isVersion4 ? configuration.multicastGroup4 : configuration.multicastGroup6
        let address = interface.address.description
        receiver(isVersion4: isVersion4).whenSuccess { channel in
            guard let channel = channel as? any MulticastChannel,
                let group = try? SocketAddress(ipAddress: group, port: 0),
                // An interface that has just gone is not found: there is nothing to join or leave then.
                var device = try? System.enumerateDevices().first(where: { $0.address?.ipAddress == address })
            else { return }
            // Loopback does not claim it, and does it.
            device.multicastSupported = true
            body(channel, group, device)
        }
    }

    private func receiver(isVersion4: Bool) -> EventLoopFuture<any Channel> {
        if let receiver = receivers[isVersion4] { return receiver }
        let any = isVersion4 ? "0.0.0.0" : "::"
        var bootstrap = bootstrap()
        if !isVersion4 {
            let only = ChannelOptions.Types.SocketOption(level: .ipv6, name: .ipv6_v6only)
            bootstrap = bootstrap.channelOption(only, value: 1)
        }
        let receiver = bootstrap.bind(host: any, port: Int(configuration.beaconPort))
        receivers[isVersion4] = receiver
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        receiver.whenFailure { _ in bound.value.receivers[isVersion4] = nil }
        return receiver
    }

    /// Several nodes of one machine share the port; multicast reaches all of them.
    private func bootstrap() -> DatagramBootstrap {
        let sharedPort = ChannelOptions.Types.SocketOption(level: .socket, name: .init(rawValue: SO_REUSEPORT))
        return DatagramBootstrap(group: eventLoop)
            .channelOption(.socketOption(.so_reuseaddr), value: 1)
            .channelOption(sharedPort, value: 1)
            // One byte more than a beacon has shows that a longer datagram is none.
            .channelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: BeaconCodec.byteCountMax + 1)
            )
            .channelInitializer { [onDatagram] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DatagramHandler(onDatagram: onDatagram))
                }
            }
    }
}

/// Hands datagrams on and outlives errors, which datagram sockets report for packets that did not arrive.
private final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let onDatagram: BeaconSockets.OnDatagram

    init(onDatagram: @escaping BeaconSockets.OnDatagram) { self.onDatagram = onDatagram }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        guard let text = envelope.remoteAddress.ipAddress, let source = IPAddress(text),
            let port = envelope.remoteAddress.port.flatMap(UInt16.init(exactly:))
        else { return }
        onDatagram(Array(envelope.data.readableBytesView), source, port)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}
