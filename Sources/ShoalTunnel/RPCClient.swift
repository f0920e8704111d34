package import NIOCore
internal import NIOPosix
package import ShoalCore
package import ShoalRPC

/// Verifies an rpc-server by its own protocol.
///
/// It serves one client at a time and answers a second one only when the first is gone, so it is asked before a session
/// begins, by the node that started it, and the connection is closed at once.
package enum RPCClient {
    /// HELLO, then the memory of every device. `deadline` bounds the whole of it. Throws `engineLost` (nobody answers),
    /// `timedOut` (busy with another client, or stuck), `protocolViolation` (another version, no rpc-server).
    package static func facts(
        host: String, port: Int, eventLoop: any EventLoop, deadline: Duration
    ) async throws(ShoalError) -> RPCServerFacts {
        let place = "the rpc-server at \(host):\(port)"
        let answer = eventLoop.makePromise(of: RPCServerFacts.self)
        let timeout = eventLoop.scheduleTask(in: TimeAmount(deadline)) {
            let reason = "did not answer within \(deadline); is it busy with another client, or stuck?"
            answer.fail(ShoalError(.timedOut, "\(place) \(reason)"))
        }
        let connecting = ClientBootstrap(group: eventLoop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connectTimeout(TimeAmount(deadline))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(InterviewHandler(answer: answer))
                }
            }
            .connect(host: host, port: port)
        connecting.whenFailure { error in
            let code = (error as? IOError)?.errnoCode
            let reason = code == nil ? "\(error)" : "errno \(code ?? 0)"
            answer.fail(ShoalError(.engineLost, "\(place) cannot be reached: \(reason)"))
        }
        defer {
            timeout.cancel()
            connecting.whenSuccess { $0.close(promise: nil) }
        }
        do {
            return try await answer.futureResult.get()
        } catch let error as ShoalError {
            throw error.code == .protocolViolation ? error.during(place) : error
        } catch {
            throw ShoalError(.engineLost, "\(place): \(error)")
        }
    }
}

/// Carries out an interview, then closes.
private final class InterviewHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var interview = ServerInterview()
    private let answer: EventLoopPromise<RPCServerFacts>

    init(answer: EventLoopPromise<RPCServerFacts>) { self.answer = answer }

    func channelActive(context: ChannelHandlerContext) { send(interview.opening, context) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do throws(ShoalError) {
            switch try interview.received(Self.unwrapInboundIn(data).readableBytesView) {
            case .send(let bytes): send(bytes, context)
            case .wait: break
            case .done(let facts): answer.succeed(facts)
            }
        } catch {
            answer.fail(error)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let facts = interview.factsSoFar { return answer.succeed(facts) }
        answer.fail(
            ShoalError(
                .protocolViolation,
                "it closed the connection; is it an rpc-server of protocol \(RPCLimits.majorVersion)?"))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { answer.fail(error) }

    private func send(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }
}
