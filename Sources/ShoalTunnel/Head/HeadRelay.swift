internal import Crypto
internal import NIOCore
internal import ShoalCore
internal import ShoalRPC

/// One session of llama-server at the head's end: carries out what `HeadSession` decides. Lives on one event loop.
final class HeadRelay: StreamOwner {
    enum Side {
        case client
        case peer
    }

    private enum Peer {
        case none
        case opening
        case open(any Channel, StreamHandler<HeadRelay>)
        case gone
    }

    private let client: any Channel
    private let ledger: SessionLedger
    private let known: KnownServer
    private let idlePeer: IdlePeer
    private let openPeer: @Sendable () -> EventLoopFuture<PeerStream>
    private var number = 0
    private var peer = Peer.none
    private var session: HeadSession
    private var window = PieceWindow(byteCountMax: TunnelLimits.windowByteCount)
    private var reader = TunnelMessageReader()
    /// Bytes of the stream that are not in a message yet.
    private var plain = ByteBuffer()
    /// Messages that wait for the peer's connection, or for the next flush.
    private var outbox = ByteBuffer()
    private var piece = ByteBuffer()
    private var hash = SHA256()
    /// The bytes of every piece that the worker has not answered.
    private var held: [UInt64: ByteBuffer] = [:]
    private var actions: [HeadSession.Action] = []
    private var counters = TunnelCounters()
    private var graphComputeCount = 0
    /// What is known of memory is not true any longer.
    private var memoryDeadline: ContinuousClock.Instant?
    /// The connection is of an earlier session, and nothing was sent on it yet.
    private var isUnused = false
    private var isOver = false

    init(
        client: any Channel, index: TensorIndex, known: KnownServer, idlePeer: IdlePeer, ledger: SessionLedger,
        openPeer: @escaping @Sendable () -> EventLoopFuture<PeerStream>
    ) {
        self.client = client
        self.known = known
        self.idlePeer = idlePeer
        self.ledger = ledger
        self.openPeer = openPeer
        let (answers, memoryDeadline) = known.answers(now: .now)
        self.memoryDeadline = memoryDeadline
        let idle = idlePeer.take()
        let isGreeted = idle != nil && answers[.hello] != nil
        session = HeadSession(index: index, answers: answers, isGreeted: isGreeted)
        guard let idle else { return }
        // Without the answer to HELLO it is of no use, and keeps the rpc-server busy.
        guard isGreeted else {
            idle.channel.close(promise: nil)
            return
        }
        peer = .open(idle.channel, idle.handler)
        isUnused = true
        idle.handler.owner = self
    }

    /// In the channel's initializer; nothing is read before.
    func start() throws {
        let relay = NIOLoopBound(self, eventLoop: client.eventLoop)
        let loop = client.eventLoop
        let number = ledger.begin { loop.execute { relay.value.end(because: nil) } }
        guard let number else { throw ShoalError(.overloaded, "too many sessions of one llama-server") }
        self.number = number
        try client.pipeline.syncOperations.addHandler(StreamHandler(self, side: .client))
    }

    // MARK: Events

    func received(_ bytes: ByteBuffer, from side: Side) {
        guard !isOver else { return }
        switch side {
        case .client:
            counters.lastRequest = .now
            fromClient(bytes)
        case .peer:
            counters.receivedByteCount += bytes.readableBytes
            reader.append(bytes)
            fromPeer()
        }
    }

    func receivedAll(from side: Side) {
        guard !isOver else { return }
        flush()
    }

    func writabilityChanged(of side: Side) {
        guard !isOver else { return }
        setReading()
    }

    func closed(_ side: Side, because error: (any Error)?) {
        guard !isOver else { return }
        switch side {
        case .client: end(because: nil)
        case .peer:
            guard !isUnused else { return useNewConnection() }
            let reason = error.map { "\($0)" } ?? "it closed"
            known.forget()
            end(because: ShoalError(.linkLost, "the connection to the worker was lost: \(reason)"))
        }
    }

    // MARK: From llama-server to the worker

    private func fromClient(_ bytes: ByteBuffer) {
        forgetOldMemory()
        guard session.adopt(known.takeGuesses()) else {
            return end(because: ShoalError(.protocolViolation, "a guess cannot be checked any more"))
        }
        bytes.withUnsafeReadableBytes { input in
            var rest = input
            // Ends: every turn takes input, but for the last one.
            while !rest.isEmpty, !isOver {
                actions.removeAll(keepingCapacity: true)
                let count = session.received(rest, &actions)
                perform(UnsafeRawBufferPointer(rebasing: rest[..<count]))
                if count == 0, actions.isEmpty { break }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
        known.leave(session.takeUncheckedGuesses())
        noteGraphs()
    }

    private func forgetOldMemory() {
        guard let deadline = memoryDeadline, .now >= deadline else { return }
        memoryDeadline = nil
        session.forgetMemory()
    }

    /// `input` is what the actions speak of.
    private func perform(_ input: UnsafeRawBufferPointer) {
        var rest = input
        func take(_ count: Int) -> UnsafeRawBufferPointer {
            defer { rest = UnsafeRawBufferPointer(rebasing: rest[count...]) }
            return UnsafeRawBufferPointer(rebasing: rest[..<count])
        }
        for action in actions {
            switch action {
            case .send(let bytes): bytes.withUnsafeBytes { send($0) }
            case .sendInput(let count): send(take(count))
            case .collect(let count):
                let part = take(count)
                piece.writeBytes(part)
                hash.update(bufferPointer: part)
            case .endPiece(let span): sendPiece(span)
            case .answer(let bytes): answer(bytes)
            case .answerInput(let count): answer(take(count))
            case .learned(let question, let reply): known.learn(reply, to: question)
            case .memoryChanges: known.forgetMemory()
            case .fail(let reason): end(because: ShoalError(.protocolViolation, reason))
            }
        }
    }

    private func send(_ bytes: UnsafeRawBufferPointer) {
        window.sent(bytes.count)
        var rest = bytes
        // Ends: every turn takes bytes.
        while !rest.isEmpty {
            let count = min(rest.count, TunnelLimits.messageByteCountMax - plain.readableBytes)
            plain.writeBytes(UnsafeRawBufferPointer(rebasing: rest[..<count]))
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if plain.readableBytes == TunnelLimits.messageByteCountMax { sendPlain() }
        }
    }

    private func sendPlain() {
        guard plain.readableBytes > 0 else { return }
        post(.bytes(plain))
        plain.clear()
    }

    private func sendPiece(_ span: PieceSpan) {
        sendPlain()
        let digest = ContentDigest(of: hash)
        let number = window.sentPiece(byteCount: span.byteCount)
        held[number] = piece
        post(.piece(PieceReference(digest: digest, span: span)))
        piece = ByteBuffer()
        hash = SHA256()
    }

    private func post(_ message: TunnelMessage) {
        message.write(to: &outbox)
        if case .none = peer { connect() }
        // Enough for a write of its own.
        if outbox.readableBytes >= TunnelLimits.messageByteCountMax { writeOutbox() }
    }

    private func writeOutbox() {
        guard case .open(let channel, _) = peer, outbox.readableBytes > 0 else { return }
        counters.sentByteCount += outbox.readableBytes
        isUnused = false
        channel.write(outbox, promise: nil)
        outbox = ByteBuffer()
    }

    // MARK: The connection to the worker's end

    private func connect() {
        peer = .opening
        counters.connectedSessionCount = 1
        let relay = NIOLoopBound(self, eventLoop: client.eventLoop)
        let opening = openPeer()
        // Never at once, in the middle of what is being written: it may be open already.
        client.eventLoop.execute { opening.whenComplete { relay.value.opened($0) } }
    }

    /// The connection that an earlier session left is gone; llama-server need not know.
    private func useNewConnection() {
        peer = .none
        isUnused = false
        session.needsGreeting()
    }

    private func opened(_ result: Result<PeerStream, any Error>) {
        switch result {
        case .success(let stream):
            guard !isOver else { return stream.channel.close(promise: nil) }
            guard stream.channel.eventLoop === client.eventLoop else {
                stream.channel.close(promise: nil)
                return end(because: ShoalError(.internal, "the worker's connection lives on another event loop"))
            }
            attach(stream)
        case .failure(let error):
            peer = .gone
            let reason = (error as? ShoalError) ?? ShoalError(.linkLost, "\(error)")
            end(because: reason.during("no connection to the worker's rpc-server"))
        }
    }

    private func attach(_ stream: PeerStream) {
        let handler = StreamHandler(self, side: .peer)
        do {
            try stream.channel.pipeline.syncOperations.addHandler(handler)
        } catch {
            return end(because: ShoalError(.linkLost, "the connection to the worker was lost: \(error)"))
        }
        peer = .open(stream.channel, handler)
        var hello = ByteBuffer()
        TunnelMessage.hello(serverNumber: nil).write(to: &hello)
        counters.sentByteCount += hello.readableBytes
        stream.channel.write(hello, promise: nil)
        if stream.firstBytes.readableBytes > 0 { received(stream.firstBytes, from: .peer) }
        stream.channel.setAutoRead(true)
        flush()
    }

    // MARK: From the worker to llama-server

    private func fromPeer() {
        do throws(ShoalError) {
            // Ends: every turn takes a message out of a finite buffer.
            while !isOver, let message = try reader.next() { try handle(message) }
        } catch {
            end(because: error.during("from the worker"))
        }
    }

    private func handle(_ message: TunnelMessage) throws(ShoalError) {
        switch message {
        case .hello(let serverNumber):
            if let serverNumber, known.isOther(serverNumber) { session.forgetAnswers() }
        case .bytes(let bytes):
            counters.lastReply = .now
            replied(bytes)
        case .found(let number, let source):
            let byteCount = try answered(number).readableBytes
            session.pieceFound(byteCount: byteCount, inCache: source == .cache)
        case .missing(let number):
            let bytes = try answered(number)
            session.pieceSent(byteCount: bytes.readableBytes)
            post(.fill(number: number, bytes))
        case .goodbye(let sentence):
            known.forget()
            end(because: ShoalError(.engineLost, sentence))
        case .piece, .fill:
            throw ShoalError(.protocolViolation, "the worker's end of a tunnel sent what only a head sends")
        }
    }

    private func answered(_ number: UInt64) throws(ShoalError) -> ByteBuffer {
        guard window.answered(number) != nil, let bytes = held.removeValue(forKey: number) else {
            throw ShoalError(.protocolViolation, "an answer about piece \(number), which is not open")
        }
        return bytes
    }

    private func replied(_ bytes: ByteBuffer) {
        bytes.withUnsafeReadableBytes { input in
            var rest = input
            // Ends: every turn takes input or, once, ends the understanding.
            while !rest.isEmpty, !isOver {
                actions.removeAll(keepingCapacity: true)
                let count = session.replied(rest, &actions)
                perform(UnsafeRawBufferPointer(rebasing: rest[..<count]))
                if count == 0, actions.isEmpty { break }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
    }

    private func answer(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        client.write(ByteBuffer(bytes: bytes), promise: nil)
    }

    private func answer(_ bytes: UnsafeRawBufferPointer) { client.write(ByteBuffer(bytes: bytes), promise: nil) }

    // MARK: Flow

    private func flush() {
        sendPlain()
        writeOutbox()
        if case .open(let channel, _) = peer { channel.flush() }
        client.flush()
        setReading()
        publish()
    }

    /// llama-server is read while the stream may run on and the connection takes it; the worker while llama-server
    /// does.
    private func setReading() {
        switch peer {
        case .none: client.setAutoRead(true)
        case .opening, .gone: client.setAutoRead(false)
        case .open(let channel, _):
            client.setAutoRead(!window.isFull && channel.isWritable)
            channel.setAutoRead(client.isWritable)
        }
    }

    private func noteGraphs() {
        let count = session.traffic.graphComputeCount
        if count > graphComputeCount { counters.lastGraphCompute = counters.lastRequest }
        graphComputeCount = count
    }

    private func publish() {
        counters.traffic = session.traffic
        counters.isPassThrough = session.isPassThrough
        if !session.awaitsReply {
            counters.unansweredSince = nil
        } else if counters.unansweredSince == nil {
            counters.unansweredSince = .now
        }
        ledger.update(number, counters)
    }

    // MARK: The end

    /// Nil when llama-server closed, or this end is being closed: that is no failure.
    private func end(because error: ShoalError?) {
        guard !isOver else { return }
        if error == nil { sendPlain() }
        publish()
        isOver = true
        if let error { ledger.note(error: error.message) }
        if case .open(let channel, let handler) = peer {
            // Two sessions at a time are no questions one after the other; the rpc-server must be free for the second.
            let isReusable = error == nil && session.isReusable && outbox.readableBytes == 0 && ledger.isAlone(number)
            writeOutbox()
            if isReusable {
                handler.owner = nil
                idlePeer.leave(channel, handler)
            } else {
                channel.closeAfterWrites()
            }
        }
        peer = .gone
        client.closeAfterWrites()
        held = [:]
        ledger.end(number, counters)
    }
}
