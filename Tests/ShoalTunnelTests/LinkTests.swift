import Foundation
import Logging
import NIOCore
import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalRPC
import ShoalTesting
import ShoalTrust
import Testing

@testable import ShoalTunnel

/// The tunnel over links between two members, as the node uses it.
@Suite("A tunnel over links")
struct LinkTests {
    private static let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    /// A head's end before a worker's end before `server`, with TLS between them.
    private struct Setup {
        let head: TunnelHeadEnd
        let worker: TunnelWorkerEnd
        let listener: LinkListener
        let accepted: EventRecorder<FrameConnection>

        init(to server: ByteServer, model: String) async throws {
            let members = try TestTrust.members(["worker", "head"])
            let worker = TunnelWorkerEnd(
                configuration: .init(rpcServerPort: server.port, serverNumber: 1), library: TensorLibrary(paths: []),
                cache: nil, logger: LinkTests.logger)
            let accepted = EventRecorder<FrameConnection>()
            let hello = Self.hello(members[0])
            let listener = try await LinkListener.bind(
                LinkAddress(parsing: "127.0.0.1:0"), eventLoopGroup: Tunnel.group, security: members[0],
                hello: { hello }
            ) { connection, _ in
                accepted.record(connection)
                // It ends with its connection.
                Task { await worker.serve(try await PeerStream(connection)) }
            }
            let loop = Tunnel.group.next()
            let address = listener.boundAddress
            head = try await TunnelHeadEnd.start(
                configuration: .init(modelPaths: [model]), eventLoop: loop, logger: LinkTests.logger
            ) { () async throws(ShoalError) in
                let (connection, _) = try await LinkDialer.dial(
                    address, eventLoop: loop, security: members[1], hello: Self.hello(members[1]))
                return try await PeerStream(connection)
            }
            self.worker = worker
            self.listener = listener
            self.accepted = accepted
        }

        private static func hello(_ security: LinkSecurity) -> LinkHello {
            LinkHello(
                nodeID: security.trust.nodeID, nodeName: "node", llamaBuild: "b0", linkAddress: "127.0.0.1:7461",
                apiAddress: nil)
        }

        func close() async {
            await head.close()
            worker.close()
            await listener.close()
        }
    }

    @Test("bytes go through in both directions", .timeLimit(.minutes(5)))
    func bytes() async throws {
        let folder = try TestFolder()
        let echo = try await ByteServer.start { _, chunk in chunk }
        let setup = try await Setup(to: echo, model: TinyModelFile(seed: 1).write(to: folder.url.path))
        let sent = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let back = try await exchange(sent, replyByteCount: sent.count, port: setup.head.port)
        let isEqual = back == sent && echo.bytes == sent
        #expect(isEqual)
        await setup.close()
        await echo.close()
    }

    @Test("closing the link, as when its node is forgotten, ends the session", .timeLimit(.minutes(5)))
    func closedLink() async throws {
        let folder = try TestFolder()
        let echo = try await ByteServer.start { _, chunk in chunk }
        let setup = try await Setup(to: echo, model: TinyModelFile(seed: 1).write(to: folder.url.path))
        let client = try await ClientBootstrap(group: Tunnel.group).connect(host: "127.0.0.1", port: setup.head.port)
            .get()
        try await client.writeAndFlush(ByteBuffer(string: "something else"))
        try await eventually("the session is open") { setup.worker.counters.openSessionCount == 1 }
        let link = try #require(setup.accepted.events.first)
        link.close(because: nil)
        try await client.closeFuture.get()
        try await eventually("the sessions end") {
            setup.worker.counters.openSessionCount == 0 && setup.head.counters.openSessionCount == 0
        }
        #expect(setup.head.counters.lastError?.contains("connection to the worker was lost") == true)
        let error = await #expect(throws: ShoalError.self) { try await link.takeOver() }
        #expect(error?.code == .linkLost)
        await setup.close()
        await echo.close()
    }
}
