internal import NIOCore
internal import NIOPosix
internal import ShoalCore
internal import ShoalRPC

/// One session at the worker's end: a byte stream with holes comes in, and goes whole to the rpc-server. Lives on one
/// event loop.
final class WorkerRelay: StreamOwner {
    enum Side {
        case head
        case server
    }

    private let head: any Channel
    private let firstBytes: ByteBuffer
    private let finder: PieceFinder
    private let serverNumber: UInt64
    private let ledger: SessionLedger
    private let whenOver: EventLoopPromise<Void>
    private var number = 0
    private var server: (any Channel)?
    private var reader = TunnelMessageReader()
    private var stream = WorkerStream()
    private var sawHello = false
    private var counters = TunnelCounters()
    private var isOver = false

    init(
        _ peer: PeerStream, finder: PieceFinder, serverNumber: UInt64, ledger: SessionLedger,
        whenOver: EventLoopPromise<Void>
    ) {
        head = peer.channel
        firstBytes = peer.firstBytes
        self.finder = finder
        self.serverNumber = serverNumber
        self.ledger = ledger
        self.whenOver = whenOver
    }

    /// Connects to the rpc-server and begins.
    func start(host: String, port: Int) {
        let relay = NIOLoopBound(self, eventLoop: head.eventLoop)
        let loop = head.eventLoop
        let number = ledger.begin { loop.execute { relay.value.end(because: nil) } }
        guard let number else {
            head.close(promise: nil)
            return whenOver.succeed()
        }
        self.number = number
        counters.connectedSessionCount = 1
        do {
            try head.pipeline.syncOperations.addHandler(StreamHandler(self, side: .head))
        } catch {
            return end(because: ShoalError(.linkLost, "the connection to the head was lost: \(error)"))
        }
        ClientBootstrap(group: loop)
            .channelOption(.autoRead, value: false)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: 2048, initial: 16384, maximum: 1 << 20)
            )
            .channelOption(.writeBufferWaterMark, value: .init(low: 1 << 20, high: 4 << 20))
            .connectTimeout(TunnelLimits.connectDeadline)
            .connect(host: host, port: port)
            .whenComplete { relay.value.connected($0, to: "\(host):\(port)") }
    }

    private func connected(_ result: Result<any Channel, any Error>, to address: String) {
        switch result {
        case .failure(let error):
            end(because: ShoalError(.engineLost, "no rpc-server answers at \(address): \(error)"))
        case .success(let channel):
            guard !isOver else { return channel.close(promise: nil) }
            do {
                try channel.pipeline.syncOperations.addHandler(StreamHandler(self, side: .server))
            } catch {
                return end(because: ShoalError(.engineLost, "the rpc-server closed the connection: \(error)"))
            }
            server = channel
            post(.hello(serverNumber: serverNumber))
            if firstBytes.readableBytes > 0 { received(firstBytes, from: .head) }
            guard !isOver else { return }
            channel.setAutoRead(true)
            head.setAutoRead(true)
            flush()
        }
    }

    // MARK: Events

    func received(_ bytes: ByteBuffer, from side: Side) {
        guard !isOver else { return }
        switch side {
        case .head:
            counters.receivedByteCount += bytes.readableBytes
            counters.lastRequest = .now
            reader.append(bytes)
            fromHead()
        case .server:
            counters.lastReply = .now
            fromServer(bytes)
        }
    }

    func receivedAll(from side: Side) {
        guard !isOver else { return }
        flush()
    }

    func writabilityChanged(of side: Side) {
        guard !isOver else { return }
        pump()
        setReading()
    }

    func closed(_ side: Side, because error: (any Error)?) {
        switch side {
        case .head:
            pump()
            end(because: error.map { ShoalError(.linkLost, "the connection to the head was lost: \($0)") })
        case .server:
            // The server is silent about its reasons; its log and its exit are not.
            let reason = error.map { ": \($0)" } ?? ""
            end(because: ShoalError(.engineLost, "the rpc-server closed the connection\(reason)"))
        }
    }

    // MARK: From the head to the rpc-server

    private func fromHead() {
        do throws(ShoalError) {
            // Ends: every turn takes a message out of a finite buffer.
            while !isOver, let message = try reader.next() { try handle(message) }
        } catch {
            end(because: error.during("from the head"))
        }
        pump()
        look()
    }

    private func handle(_ message: TunnelMessage) throws(ShoalError) {
        guard sawHello else {
            guard case .hello = message else {
                throw ShoalError(.protocolViolation, "a tunnel that does not begin with a hello")
            }
            return sawHello = true
        }
        switch message {
        case .bytes(let bytes): stream.append(bytes)
        case .piece(let reference): stream.append(reference)
        case .fill(let number, let bytes): check(number, bytes, against: try stream.fill(number))
        case .goodbye(let sentence): end(because: ShoalError(.cancelled, sentence))
        case .hello, .found, .missing:
            throw ShoalError(.protocolViolation, "the head's end of a tunnel sent what only a worker sends")
        }
    }

    private func look() {
        let relay = NIOLoopBound(self, eventLoop: head.eventLoop)
        let finder = finder
        // Ends: the stream bounds how many are looked for at a time.
        while !isOver, let (number, reference) = stream.nextLookup() {
            NIOThreadPool.singleton.runIfActive(eventLoop: head.eventLoop) { finder.find(reference) }
                .whenComplete { relay.value.lookedUp(number, try? $0.get()) }
        }
    }

    private func lookedUp(_ number: UInt64, _ result: (bytes: ByteBuffer, source: PieceSource)?) {
        guard !isOver else { return }
        stream.lookedUp(number, result?.bytes)
        switch result {
        case (let bytes, .file)?:
            counters.traffic.weights.fromFileByteCount += bytes.readableBytes
            post(.found(number: number, .file))
        case (let bytes, .cache)?:
            counters.traffic.weights.fromCacheByteCount += bytes.readableBytes
            post(.found(number: number, .cache))
        case nil: post(.missing(number: number))
        }
        pump()
        look()
        flush()
    }

    private func check(_ number: UInt64, _ bytes: ByteBuffer, against reference: PieceReference) {
        let relay = NIOLoopBound(self, eventLoop: head.eventLoop)
        let finder = finder
        counters.traffic.weights.sentByteCount += bytes.readableBytes
        NIOThreadPool.singleton.runIfActive(eventLoop: head.eventLoop) { finder.accept(bytes, for: reference) }
            .whenComplete { relay.value.checked(number, bytes, isRight: (try? $0.get()) ?? false) }
    }

    private func checked(_ number: UInt64, _ bytes: ByteBuffer, isRight: Bool) {
        guard !isOver else { return }
        guard isRight else {
            return end(because: ShoalError(.protocolViolation, "the bytes of a piece do not have its hash"))
        }
        stream.filled(number, bytes)
        pump()
        look()
        flush()
    }

    /// Writes what is ready, as long as the rpc-server takes it.
    private func pump() {
        guard let server, !isOver else { return }
        var hasWritten = false
        while server.isWritable, let bytes = stream.next() {
            server.write(bytes, promise: nil)
            hasWritten = true
        }
        if hasWritten { server.flush() }
    }

    // MARK: From the rpc-server to the head

    private func fromServer(_ bytes: ByteBuffer) {
        var rest = bytes
        // Ends: every turn takes bytes.
        while let part = rest.readSlice(length: min(rest.readableBytes, TunnelLimits.messageByteCountMax)),
            part.readableBytes > 0
        {
            post(.bytes(part))
        }
    }

    private func post(_ message: TunnelMessage) {
        var buffer = ByteBuffer()
        message.write(to: &buffer)
        counters.sentByteCount += buffer.readableBytes
        head.write(buffer, promise: nil)
    }

    // MARK: Flow and the end

    private func flush() {
        head.flush()
        setReading()
        ledger.update(number, counters)
    }

    /// The head is read while the rpc-server takes bytes. A missing piece does not stop it: the fill comes behind.
    private func setReading() {
        guard let server, !isOver else { return }
        head.setAutoRead(server.isWritable)
        server.setAutoRead(head.isWritable)
    }

    /// Nil when the head closed, or this end is being closed.
    private func end(because error: ShoalError?) {
        guard !isOver else { return }
        isOver = true
        if let error {
            ledger.note(error: error.message)
            if head.isActive { post(.goodbye(error.message)) }
        }
        server?.closeAfterWrites()
        head.closeAfterWrites()
        ledger.end(number, counters)
        let over = whenOver
        // A session is over when its rpc-server is free for the next.
        if let server {
            server.closeFuture.whenComplete { _ in over.succeed() }
        } else {
            over.succeed()
        }
    }
}
