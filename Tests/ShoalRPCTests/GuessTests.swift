import Testing

@testable import ShoalRPC

@Suite("Answers that are given before the rpc-server is asked")
struct GuessTests {
    private static let memory = RPCRequest(.getDeviceMemory, body: [0, 0, 0, 0]).bytes
    private static let alloc = RPCRequest(.allocBuffer, body: Array(repeating: 1, count: 12)).bytes
    private static let allocReply = Requests.reply(Array(repeating: 9, count: 16))

    private static func facts(addsNoPadding: Bool = true) -> RPCServerFacts {
        var device = RPCServerFacts.Device(freeByteCount: 5, totalByteCount: 6)
        device.alignment = 32
        device.maxByteCount = .max
        device.addsNoPadding = addsNoPadding
        var facts = RPCServerFacts(protocolVersion: "7.0.0", devices: [device])
        facts.hello = Array(Requests.helloReply.dropFirst(8))
        return facts
    }

    private func session(addsNoPadding: Bool = true) -> SessionRunner {
        SessionRunner(answers: ProbeAnswers(Self.facts(addsNoPadding: addsNoPadding)))
    }

    /// Four rows of `width` numbers as q4_0, or of 32-bit floats that `operation` computes.
    private func question(width: UInt32 = 96, operation: UInt32 = 0) -> [UInt8] {
        let isWeight = operation == 0
        var tensor = Requests.tensor("t", type: isWeight ? 2 : 0, dimensions: [width, 4, 1, 1], buffer: 0)
        let row = isWeight ? width / 32 * 18 : width * 4
        for (index, number) in [isWeight ? 18 : 4, row, row * 4, row * 4, operation].enumerated() {
            tensor.replaceSubrange(36 + 4 * index..<40 + 4 * index, with: LittleEndian.bytes(number))
        }
        return Requests.getAllocSize([tensor])
    }

    private func size(_ number: UInt64) -> [UInt8] { Requests.reply(LittleEndian.bytes(number)) }

    @Test("what the worker's node asked is answered without the server: version, devices, constants, memory")
    func primed() {
        var runner = session()
        let alignment = RPCRequest(.getAlignment, body: [0, 0, 0, 0]).bytes
        let maxSize = RPCRequest(.getMaxSize, body: [0, 0, 0, 0]).bytes
        runner.clientSends(Requests.hello + RPCRequest(.deviceCount).bytes + Self.memory + alignment + maxSize)
        let memory = Requests.reply(LittleEndian.bytes(UInt64(5)) + LittleEndian.bytes(UInt64(6)))
        #expect(
            runner.toClient
                == Requests.helloReply + Requests.reply([1, 0, 0, 0]) + memory + size(32) + size(.max))
        #expect(runner.toServer.isEmpty)
    }

    @Test("nothing is said of another device than those that were asked")
    func otherDevice() {
        var runner = session()
        let request = RPCRequest(.getAlignment, body: [1, 0, 0, 0]).bytes
        runner.clientSends(Requests.hello + request)
        #expect(runner.toServer == Requests.hello + request)
    }

    @Test("memory is asked for once anything but a question has gone to the server, and the answer is not kept")
    func memoryChanges() {
        var runner = session()
        runner.clientSends(Requests.hello + Self.alloc)
        runner.serverSends(Requests.helloReply + Self.allocReply)
        #expect(runner.memoryChangeCount == 1)
        let reply = Requests.reply(Array(repeating: 7, count: 16))
        for _ in 0..<2 {
            _ = runner.takeToServer()
            _ = runner.takeToClient()
            runner.clientSends(Self.memory)
            #expect(runner.toServer == Self.memory)
            runner.serverSends(reply)
            #expect(runner.toClient == reply)
        }
        #expect(runner.learned.isEmpty)
    }

    @Test("memory that is too old is asked for again")
    func oldMemory() {
        var runner = session()
        runner.session.forgetMemory()
        runner.clientSends(Requests.hello + Self.memory)
        #expect(runner.toServer == Requests.hello + Self.memory)
    }

    @Test("the size of a weight is told at once, and the server is asked before it gets anything else")
    func guessedWeight() {
        var runner = session()
        runner.clientSends(Requests.hello + question() + question(width: 64))
        #expect(runner.takeToClient() == Requests.helloReply + size(216) + size(144))
        #expect(runner.toServer.isEmpty)
        runner.clientSends(Self.alloc)
        #expect(runner.toServer == Requests.hello + question() + question(width: 64) + Self.alloc)
        #expect(runner.session.awaitsReply)
        runner.serverSends(Requests.helloReply + size(216))
        #expect(runner.toClient.isEmpty)
        runner.serverSends(size(144) + Self.allocReply)
        #expect(runner.toClient == Self.allocReply)
        #expect(runner.failures.isEmpty)
        #expect(runner.learned.count == 2)
        // Known from now on.
        _ = runner.takeToServer()
        runner.clientSends(question())
        #expect(runner.toServer.isEmpty)
        let unchecked = runner.session.takeUncheckedGuesses()
        #expect(unchecked.isEmpty)
    }

    @Test("a wrong guess ends the session before any other answer of the server reaches llama-server")
    func wrongGuess() {
        var runner = session()
        runner.clientSends(Requests.hello + question() + Self.alloc)
        _ = runner.takeToClient()
        runner.serverSends(Requests.helloReply + size(288))
        #expect(runner.failures.count == 1)
        #expect(runner.toClient.isEmpty)
        // The next launch is told what the server said, and nothing is guessed any more.
        var answers = ProbeAnswers(Self.facts())
        for (question, answer) in runner.learned { answers.keep(answer, to: question) }
        answers.merge(ProbeAnswers(Self.facts()))
        var next = SessionRunner(answers: answers)
        next.clientSends(Requests.hello + question() + question(width: 64))
        #expect(next.toClient == Requests.helloReply + size(288))
        #expect(next.toServer == Requests.hello + question(width: 64))
    }

    @Test("a device that pads rows is asked for every size")
    func paddingDevice() {
        var runner = session(addsNoPadding: false)
        runner.clientSends(Requests.hello + question())
        #expect(runner.toClient == Requests.helloReply)
        #expect(runner.toServer == Requests.hello + question())
    }

    @Test("what an operation needs is asked once, and guessed only where that was nothing", arguments: [true, false])
    func operations(needsNothing: Bool) {
        var runner = session()
        runner.clientSends(Requests.hello + question(operation: 3))
        #expect(runner.takeToServer() == Requests.hello + question(operation: 3))
        runner.serverSends(Requests.helloReply + size(needsNothing ? 1536 : 2000))
        _ = runner.takeToClient()
        runner.clientSends(question(width: 64, operation: 3))
        #expect(runner.toServer.isEmpty == needsNothing)
        #expect(runner.toClient == (needsNothing ? size(1024) : []))
        // Another operation is another matter.
        _ = runner.takeToServer()
        runner.clientSends(question(operation: 4))
        #expect(runner.toServer.suffix(question().count) == question(operation: 4))
    }

    @Test("a guess of a session that ended is checked by the next one")
    func adoptedGuess() {
        var first = session()
        first.clientSends(Requests.hello + question())
        let guesses = first.session.takeUncheckedGuesses()
        #expect(guesses.count == 1)
        var second = session()
        let isAdopted = second.session.adopt(guesses)
        #expect(isAdopted)
        second.clientSends(Requests.hello + Self.alloc)
        #expect(second.toServer == Requests.hello + question() + Self.alloc)
        second.serverSends(Requests.helloReply + size(217) + Self.allocReply)
        #expect(second.failures.count == 1)
    }

    @Test("a stream that is not understood asks what was guessed first, and one that cannot is refused")
    func passThrough() {
        var runner = session()
        let unknown = [200] + [UInt8](repeating: 0, count: 8)
        runner.clientSends(Requests.hello + question() + unknown)
        #expect(runner.toServer == Requests.hello + question() + unknown)
        _ = runner.takeToClient()
        runner.serverSends(Requests.helloReply + size(216) + [4, 5])
        #expect(runner.toClient == [4, 5])
        #expect(runner.failures.isEmpty)
        var first = session()
        first.clientSends(Requests.hello + question())
        let guesses = first.session.takeUncheckedGuesses()
        let isAdopted = runner.session.adopt(guesses)
        #expect(!isAdopted)
        let isNothingAdopted = runner.session.adopt([])
        #expect(isNothingAdopted)
    }

    @Test("a guess that is under way when the server says something strange ends the session")
    func violationBeforeCheck() {
        var runner = session()
        runner.clientSends(Requests.hello + Self.alloc + question())
        // The guess is sent behind another request, whose answer is not what it should be.
        runner.clientSends(RPCRequest(.freeBuffer, body: Array(repeating: 0, count: 8)).bytes)
        runner.serverSends(Requests.helloReply + Requests.reply([1, 2, 3]))
        #expect(runner.failures.count == 1)
    }

    @Test("only so many guesses are open at a time")
    func boundedGuesses() {
        var runner = session()
        runner.clientSends(Requests.hello)
        for index in 0...UInt32(RPCLimits.uncheckedGuessCountMax) {
            #expect(runner.toServer.isEmpty)
            runner.clientSends(question(width: 32 * (index + 1)))
        }
        #expect(!runner.toServer.isEmpty)
    }

    @Test("of more kinds of operations than are remembered nothing is guessed")
    func boundedOperations() {
        var guessing = AllocSizeGuessing()
        guessing.trust(device: 0)
        func asked(_ operation: UInt32) -> AllocSizeQuestion {
            AllocSizeQuestion(question(operation: operation).dropFirst(9))
        }
        for operation in 0..<UInt32(RPCLimits.knownOperationCountMax) {
            #expect(operation == 0 || guessing.guess(asked(0)) != nil)
            guessing.learn(LittleEndian.bytes(asked(operation).tensorByteCount ?? 0), to: asked(operation))
        }
        #expect(guessing.guess(asked(0)) == nil)
    }

    @Test("facts of more devices than any server has tell nothing")
    func tooManyDevices() {
        var facts = Self.facts()
        facts.devices = Array(repeating: facts.devices[0], count: Int(RPCLimits.deviceCountMax) + 1)
        #expect(ProbeAnswers(facts).count == 0)
    }

    @Test("ggml's size of a tensor: strides count, an empty one has none, an unknown type cannot be told")
    func tensorByteCount() {
        func byteCount(_ type: UInt32, _ dimensions: [UInt32], _ strides: [UInt32]) -> UInt64? {
            var tensor = Requests.tensor("t", type: type, dimensions: dimensions, buffer: 0)
            for (index, stride) in strides.enumerated() {
                tensor.replaceSubrange(36 + 4 * index..<40 + 4 * index, with: LittleEndian.bytes(stride))
            }
            return AllocSizeQuestion(Requests.getAllocSize([tensor]).dropFirst(9)).tensorByteCount
        }
        #expect(byteCount(0, [10, 3, 1, 1], [4, 64, 192, 192]) == 4 + 9 * 4 + 2 * 64)
        #expect(byteCount(2, [64, 3, 1, 1], [18, 40, 120, 120]) == 36 + 2 * 40)
        #expect(byteCount(0, [10, 0, 1, 1], [4, 64, 0, 0]) == 0)
        #expect(byteCount(99, [10, 1, 1, 1], [4, 40, 40, 40]) == nil)
        let most = Array(repeating: UInt32.max, count: 4)
        #expect(byteCount(0, most, most) == nil)
    }
}
