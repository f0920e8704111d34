import Testing

@testable import ShoalModel
@testable import ShoalRPC

@Suite("A session at the head's end")
struct HeadSessionTests {
    @Test("a HELLO loses its capabilities in both directions")
    func helloWithoutCapabilities() {
        var runner = SessionRunner()
        runner.clientSends(RPCRequest(.hello, body: Array(repeating: 5, count: 24)).bytes)
        #expect(runner.toServer == Requests.hello)
        runner.serverSends(Requests.reply([7, 0, 0, 0] + Array(repeating: 9, count: 24)))
        #expect(runner.toClient == Requests.helloReply)
    }

    @Test("a server of another major version ends the understanding, and its bytes arrive")
    func otherVersion() {
        var runner = SessionRunner()
        runner.clientSends(Requests.hello)
        let reply = Requests.reply([8, 1, 0, 0] + Array(repeating: 0, count: 24))
        runner.serverSends(reply)
        #expect(runner.toClient == reply)
        #expect(runner.session.isPassThrough)
        runner.clientSends([99, 1, 2, 3])
        runner.serverSends([4, 5])
        #expect(runner.toServer == Requests.hello + [99, 1, 2, 3])
        #expect(runner.toClient == reply + [4, 5])
    }

    @Test("an unknown command ends the understanding without losing a byte of what was under way")
    func unknownCommand() {
        var runner = opened()
        runner.clientSends(RPCRequest(.getAlignment, body: [0, 0, 0, 0]).bytes + [200, 1, 2])
        runner.serverSends([8, 0, 0, 0, 0])
        runner.clientSends([3])
        runner.serverSends([0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 77])
        #expect(runner.toServer == RPCRequest(.getAlignment, body: [0, 0, 0, 0]).bytes + [200, 1, 2, 3])
        #expect(runner.toClient == [8, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 77])
    }

    @Test("a reply of another size than its command's ends the understanding without losing a byte")
    func wrongReplySize() {
        var runner = opened()
        runner.clientSends(RPCRequest(.allocBuffer, body: Array(repeating: 1, count: 12)).bytes)
        let reply = Requests.reply(Array(repeating: 2, count: 17))
        runner.serverSends(reply.prefix(5))
        runner.serverSends(reply.dropFirst(5))
        #expect(runner.toClient == reply)
        #expect(runner.session.isPassThrough)
    }

    @Test("a reply that nobody asked for ends the understanding")
    func unaskedReply() {
        var runner = opened()
        runner.serverSends([1, 2, 3])
        #expect(runner.toClient == [1, 2, 3])
        #expect(runner.session.isPassThrough)
    }

    // MARK: Questions

    @Test(
        "a question is asked once, and answered from then on",
        arguments: [
            RPCRequest(.deviceCount).bytes, RPCRequest(.getAlignment, body: [1, 0, 0, 0]).bytes,
            RPCRequest(.getMaxSize, body: [1, 0, 0, 0]).bytes,
            Requests.getAllocSize([Requests.tensor("a", type: 2, dimensions: [32, 4, 1, 1], buffer: 0)]),
        ])
    func askedOnce(request: [UInt8]) {
        var runner = opened()
        runner.clientSends(request)
        #expect(runner.takeToServer() == request)
        let reply = Requests.reply(Array(repeating: 3, count: request[0] == RPCCommand.deviceCount.rawValue ? 4 : 8))
        runner.serverSends(reply)
        #expect(runner.takeToClient() == reply)
        runner.clientSends(request)
        #expect(runner.takeToClient() == reply)
        #expect(runner.toServer.isEmpty)
        #expect(runner.learned.count == 2)
    }

    @Test("GET_ALLOC_SIZE is another question with another type, shape, source, device or a buffer, not with other ids")
    func allocSizeQuestions() throws {
        func question(
            _ name: String = "a", type: UInt32 = 2, width: UInt32 = 32, device: UInt32 = 0, id: UInt64 = 1,
            buffer: UInt64 = 0, source: [UInt8]? = nil
        ) -> ProbeQuestion? {
            let tensor = Requests.tensor(name, type: type, dimensions: [width, 4, 1, 1], buffer: buffer, id: id)
            let bytes = Requests.getAllocSize(device: device, [tensor] + (source.map { [$0] } ?? []))
            return ProbeQuestion(RPCRequest(command: .getAllocSize, bytes: bytes, remaining: 0))
        }
        let one = try #require(question())
        #expect(question("b", id: 99) == one)
        #expect(question(type: 3) != one)
        #expect(question(width: 64) != one)
        #expect(question(device: 1) != one)
        #expect(question(source: Requests.tensor("s")) != one)
        #expect(question(buffer: 5) == nil)
    }

    @Test("buffers and data are asked for every time")
    func neverKept() {
        for command in [RPCCommand.allocBuffer, .bufferGetBase, .copyTensor] {
            guard case .exactly(let size) = command.requestSize else { continue }
            let request = RPCRequest(command, body: Array(repeating: 0, count: Int(size)))
            #expect(ProbeQuestion(request) == nil)
        }
    }

    @Test("a session that asks only what is known needs no server, and one that goes on greets it first")
    func knownSession() {
        var answers = ProbeAnswers()
        answers.keep(Array(Requests.helloReply.dropFirst(8)), to: .hello)
        answers.keep([2, 0, 0, 0], to: .deviceCount)
        var runner = SessionRunner(answers: answers)
        runner.clientSends(Requests.hello + RPCRequest(.deviceCount).bytes)
        #expect(runner.takeToClient() == Requests.helloReply + Requests.reply([2, 0, 0, 0]))
        #expect(runner.toServer.isEmpty)
        let memory = RPCRequest(.getDeviceMemory, body: [0, 0, 0, 0]).bytes
        runner.clientSends(memory)
        #expect(runner.toServer == Requests.hello + memory)
        let reply = Requests.reply(Array(repeating: 8, count: 16))
        runner.serverSends(Requests.helloReply + reply)
        #expect(runner.toClient == reply)
        #expect(runner.failures.isEmpty)
    }

    @Test("a server whose HELLO is not the one that llama-server was told is refused")
    func changedServer() {
        var answers = ProbeAnswers()
        answers.keep(Array(Requests.helloReply.dropFirst(8)), to: .hello)
        var runner = SessionRunner(answers: answers)
        runner.clientSends(Requests.hello + RPCRequest(.deviceCount).bytes)
        runner.serverSends(Requests.reply([7, 1, 0, 0] + Array(repeating: 0, count: 24)))
        #expect(runner.failures.count == 1)
    }

    @Test("an answer of ours waits until the server has answered what came before")
    func repliesKeepTheirOrder() {
        var runner = opened()
        let get = Requests.getTensor(Requests.tensor("t"), byteCount: 5)
        let hash = RPCRequest(.setTensorHash, body: Array(repeating: 0, count: 312)).bytes
        runner.clientSends(get + hash)
        #expect(runner.toClient.isEmpty)
        let data = Requests.reply([1, 2, 3, 4, 5])
        runner.serverSends(data.prefix(10))
        runner.serverSends(data.dropFirst(10))
        #expect(runner.toClient == data + Requests.reply([0]))
        #expect(runner.session.traffic.answeredLocally == [.setTensorHash: 1])
    }

    @Test("the stream is the same in whatever chunks both sides come", arguments: 0..<20)
    func randomChunks(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var requests = Requests.random(20, using: &random)
        // What a random GET_TENSOR asks for would be endless.
        requests.removeAll { $0[0] == RPCCommand.getTensor.rawValue }
        requests.append(Requests.getTensor(Requests.tensor("t"), byteCount: 3000))
        var replies: [UInt8] = []
        for request in requests {
            guard let command = RPCCommand(rawValue: request[0]), command != .setTensorHash else { continue }
            switch command.replySize {
            case .none: break
            case .exactly(let size):
                replies += command == .hello ? Requests.helloReply : Requests.reply(random.bytes(Int(size)))
            case .asRequested: replies += Requests.reply(random.bytes(3000))
            }
        }
        let expected = requests.filter { $0[0] != RPCCommand.setTensorHash.rawValue }.flatMap(\.self)
        var runner = SessionRunner()
        for chunk in chunks(requests.flatMap(\.self), using: &random) { runner.clientSends(chunk) }
        let isWhole = runner.toServer == expected
        #expect(isWhole, "seed \(seed)")
        for chunk in chunks(replies, using: &random) { runner.serverSends(chunk) }
        #expect(!runner.session.isPassThrough, "seed \(seed)")
        let hashes = requests.count { $0[0] == RPCCommand.setTensorHash.rawValue }
        #expect(runner.toClient.count == replies.count + 9 * hashes, "seed \(seed)")
        #expect(!runner.session.awaitsReply)
    }

    @Test("no bytes of either side trap", arguments: 0..<200)
    func fuzz(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var stream = Requests.random(10, using: &random).flatMap(\.self)
        for _ in 0..<Int.random(in: 0...5, using: &random) {
            stream[Int.random(in: 0..<stream.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        var runner = SessionRunner(index: SampleIndex.index)
        var replies = chunks(Requests.helloReply + random.bytes(2000), using: &random)
        for chunk in chunks(stream, using: &random) {
            runner.clientSends(chunk)
            if !replies.isEmpty, Bool.random(using: &random) { runner.serverSends(replies.removeFirst()) }
        }
        #expect(runner.toServer.count <= stream.count + 33)
    }

    // MARK: Weights

    @Test("a weight becomes pieces, cut at whole mebibytes of its tensor")
    func weightPieces() {
        var random = SeededRandom(seed: 1)
        let data = random.bytes(SampleIndex.bigByteCount)
        let tensor = SampleIndex.big
        var runner = opened(SampleIndex.index)
        let write = Requests.setTensor(tensor, data: data, cacheFlag: 1)
        for chunk in chunks(write, using: &random) { runner.clientSends(chunk) }
        let isWhole = runner.toServer == Requests.setTensor(tensor, data: data)
        #expect(isWhole)
        #expect(runner.pieces.map(\.bytes.count) == [1 << 20, 1 << 20, 8192])
        #expect(runner.pieces.map(\.span.offset) == [0, 1 << 20, 2 << 20])
        #expect(runner.pieces.allSatisfy { $0.span.tensorName == "blk.0.ffn_up.weight" && $0.span.type == 0 })
        #expect(runner.session.traffic.weights.allByteCount == data.count)
        #expect(runner.session.traffic.commands[.setTensor]?.count == 1)
    }

    @Test("a write into the middle of a weight has the pieces of the whole one where it can")
    func partialWeight() {
        var random = SeededRandom(seed: 2)
        let data = random.bytes((1 << 20) + 100)
        var runner = opened(SampleIndex.index)
        let offset = UInt64((1 << 20) - 50)
        runner.clientSends(Requests.setTensor(SampleIndex.big, offset: offset, data: data))
        let isWhole = runner.toServer == Requests.setTensor(SampleIndex.big, offset: offset, data: data)
        #expect(isWhole)
        // The ends are too short to be worth a reference.
        #expect(runner.pieces.map(\.span.offset) == [1 << 20])
        #expect(runner.pieces.map(\.bytes.count) == [1 << 20])
    }

    @Test("activations, other sizes, other types and small weights are carried as they are")
    func noWeights() {
        let data = [UInt8](repeating: 1, count: 8192)
        let writes = [
            Requests.setTensor(Requests.tensor("l_out-3", dimensions: [2048, 1, 1, 1]), data: data, cacheFlag: 1),
            Requests.setTensor(Requests.tensor("blk.0.attn_norm.weight", dimensions: [1, 1, 1, 1]), data: data),
            Requests.setTensor(
                Requests.tensor("blk.0.ffn_up.weight", type: 1, dimensions: [2048, 1, 1, 1]), data: data),
            Requests.setTensor(SampleIndex.big, offset: UInt64(SampleIndex.bigByteCount) - 10, data: data),
            Requests.setTensor(SampleIndex.big, offset: .max, data: data),
            Requests.setTensor(SampleIndex.big, data: Array(data.prefix(100))),
        ]
        for write in writes {
            var runner = opened(SampleIndex.index)
            runner.clientSends(write)
            let isWhole = runner.toServer == write
            #expect(isWhole)
            #expect(runner.pieces.isEmpty)
        }
    }

    @Test("what the server allocated before the first weight is what is expected")
    func expectedBytes() {
        var runner = opened(SampleIndex.index)
        for size in [1000, 5000] as [UInt64] {
            runner.clientSends(RPCRequest(.allocBuffer, body: Array(repeating: 0, count: 12)).bytes)
            runner.serverSends(Requests.reply(LittleEndian.bytes(UInt64(77)) + LittleEndian.bytes(size)))
        }
        runner.clientSends(Requests.setTensor(SampleIndex.big, data: Array(repeating: 0, count: 5000)))
        #expect(runner.session.traffic.expectedWeightByteCount == 6000)
    }

    private func opened(_ index: TensorIndex = TensorIndex(headers: [])) -> SessionRunner {
        var runner = SessionRunner(index: index)
        runner.clientSends(Requests.hello)
        runner.serverSends(Requests.helloReply)
        _ = runner.takeToServer()
        _ = runner.takeToClient()
        return runner
    }
}

/// One weight of 2 MiB and a bit, and one of four bytes; 32-bit floats.
enum SampleIndex {
    static let bigByteCount = (2 << 20) + 8192
    static let big = Requests.tensor("blk.0.ffn_up.weight", dimensions: [2048, 257, 1, 1])

    static let index: TensorIndex = {
        guard let float = GGMLType(rawValue: 0) else { return TensorIndex(headers: []) }
        let tensors = [
            GGUFHeader.Tensor(
                name: "blk.0.ffn_up.weight", dimensions: [2048, 257], type: float, byteCount: bigByteCount,
                fileOffset: 1024),
            GGUFHeader.Tensor(
                name: "blk.0.attn_norm.weight", dimensions: [1], type: float, byteCount: 4, fileOffset: 0),
        ]
        return TensorIndex(headers: [
            GGUFHeader(
                fileName: "sample.gguf", fileByteCount: 1 << 30, version: 3, alignment: 32, keys: [], tensors: tensors,
                bytes: [])
        ])
    }()
}
