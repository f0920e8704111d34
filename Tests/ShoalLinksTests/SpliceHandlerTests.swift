import NIOCore
import NIOEmbedded
import Testing

@testable import ShoalLinks

@Suite("Passing bytes on")
struct SpliceHandlerTests {
    /// Two channels on one loop, joined; reads are counted in front of the splice.
    private struct Pair {
        let loop = EmbeddedEventLoop()
        let one: EmbeddedChannel
        let other: EmbeddedChannel
        let handlers = (SpliceHandler(), SpliceHandler())
        let reads = (ReadCounter(), ReadCounter())

        init() throws {
            one = EmbeddedChannel(loop: loop)
            other = EmbeddedChannel(loop: loop)
            let address = try SocketAddress(ipAddress: "127.0.0.1", port: 1)
            for channel in [one, other] { channel.connect(to: address, promise: nil) }
            try one.pipeline.syncOperations.addHandlers(reads.0, handlers.0)
            try other.pipeline.syncOperations.addHandlers(reads.1, handlers.1)
            SpliceHandler.join(handlers.0, handlers.1)
        }

        func finish() throws {
            for channel in [one, other] where channel.isActive { _ = try channel.finish(acceptAlreadyClosed: true) }
        }
    }

    private final class ReadCounter: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        var count = 0

        func read(context: ChannelHandlerContext) {
            count += 1
            context.read()
        }
    }

    @Test("bytes pass in both directions, whole and in order, and are counted")
    func bothDirections() throws {
        let pair = try Pair()
        for text in ["one", "two"] { try pair.one.writeInbound(ByteBuffer(string: text)) }
        try pair.other.writeInbound(ByteBuffer(string: "back"))
        #expect(try pair.other.readOutbound(as: ByteBuffer.self).map { String(buffer: $0) } == "one")
        #expect(try pair.other.readOutbound(as: ByteBuffer.self).map { String(buffer: $0) } == "two")
        #expect(try pair.one.readOutbound(as: ByteBuffer.self).map { String(buffer: $0) } == "back")
        #expect(pair.handlers.0.byteCount == 6)
        #expect(pair.handlers.1.byteCount == 4)
        try pair.finish()
    }

    @Test("a side is not read while the other one takes nothing, and is read again as soon as it does")
    func backPressure() throws {
        let pair = try Pair()
        pair.one.read()
        #expect(pair.reads.0.count == 1)
        pair.other.isWritable = false
        pair.other.pipeline.fireChannelWritabilityChanged()
        for _ in 0..<3 { pair.one.read() }
        #expect(pair.reads.0.count == 1)
        // The other direction is not concerned.
        pair.other.read()
        #expect(pair.reads.1.count == 1)
        pair.other.isWritable = true
        pair.other.pipeline.fireChannelWritabilityChanged()
        #expect(pair.reads.0.count == 2)
        pair.other.pipeline.fireChannelWritabilityChanged()
        #expect(pair.reads.0.count == 2)
        try pair.finish()
    }

    @Test("when one side ends, what it sent still goes out, and the other side ends too", arguments: [0, 1])
    func ends(first: Int) throws {
        let pair = try Pair()
        let (ending, other) = first == 0 ? (pair.one, pair.other) : (pair.other, pair.one)
        try ending.writeInbound(ByteBuffer(string: "last words"))
        ending.close(promise: nil)
        pair.loop.run()
        #expect(try other.readOutbound(as: ByteBuffer.self).map { String(buffer: $0) } == "last words")
        #expect(!other.isActive)
        #expect(!ending.isActive)
    }

    @Test("a side that takes nothing is closed after the drain deadline")
    func drainDeadline() throws {
        let pair = try Pair()
        try pair.other.pipeline.syncOperations.addHandler(NeverWrites(), position: .first)
        try pair.one.writeInbound(ByteBuffer(string: "stuck"))
        pair.one.close(promise: nil)
        pair.loop.run()
        #expect(pair.other.isActive)
        pair.loop.advanceTime(by: SpliceHandler.drainDeadline)
        #expect(!pair.other.isActive)
    }

    private final class NeverWrites: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        private var promises: [EventLoopPromise<Void>] = []

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            if let promise { promises.append(promise) }
        }

        func handlerRemoved(context: ChannelHandlerContext) {
            for promise in promises { promise.fail(ChannelError.ioOnClosedChannel) }
        }
    }
}
