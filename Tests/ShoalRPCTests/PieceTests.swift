import Testing

@testable import ShoalRPC

@Suite("Pieces")
struct PieceTests {
    @Test("a digest is 32 bytes, and reads its own hexadecimal form")
    func digests() throws {
        let digest = try #require(ContentDigest(Array(0..<32)))
        #expect(digest.description.hasPrefix("000102"))
        #expect(ContentDigest(hexadecimal: digest.description) == digest)
        #expect(ContentDigest(Array(0..<31)) == nil)
        #expect(ContentDigest(hexadecimal: digest.description.uppercased()) == nil)
        #expect(ContentDigest(hexadecimal: digest.description + "00") == nil)
        #expect(ContentDigest(hexadecimal: "") == nil)
    }

    @Test("places are those of the same name, type and size, and the piece must lie inside")
    func places() {
        func span(
            _ name: String = "blk.0.ffn_up.weight", type: UInt32 = 0, size: Int = SampleIndex.bigByteCount,
            offset: UInt64 = 0, count: Int = 10
        ) -> PieceSpan {
            PieceSpan(
                tensorName: name, type: type, tensorByteCount: UInt64(size), offset: offset, byteCount: count)
        }
        let index = SampleIndex.index
        #expect(index.places(for: span()).map(\.fileOffset) == [1024])
        #expect(index.places(for: span("blk.1.ffn_up.weight")).isEmpty)
        #expect(index.places(for: span(type: 1)).isEmpty)
        #expect(index.places(for: span(size: 5)).isEmpty)
        #expect(index.places(for: span(offset: UInt64(SampleIndex.bigByteCount) - 9)).isEmpty)
        #expect(index.places(for: span(offset: .max)).isEmpty)
        #expect(index.places(for: span(count: 0)).isEmpty)
    }

    @Test("the window is full when the stream has run so far ahead of the first unanswered piece")
    func window() {
        var window = PieceWindow(byteCountMax: 100)
        window.sent(1000)
        #expect(!window.isFull)
        #expect(window.sentPiece(byteCount: 60) == 0)
        #expect(window.sentPiece(byteCount: 30) == 1)
        window.sent(9)
        #expect(!window.isFull)
        window.sent(1)
        #expect(window.isFull)
        #expect(window.answered(1) == 30)
        #expect(window.isFull)
        #expect(window.answered(0) == 60)
        #expect(!window.isFull)
        #expect(window.unansweredCount == 0)
    }

    @Test("a piece is answered once, and only if it was sent")
    func answers() {
        var window = PieceWindow(byteCountMax: 100)
        #expect(window.answered(0) == nil)
        for number in 0..<600 as Range<UInt64> { #expect(window.sentPiece(byteCount: 1) == number) }
        for number in 0..<599 as Range<UInt64> {
            #expect(window.answered(number) == 1)
            #expect(window.answered(number) == nil)
        }
        #expect(window.answered(.max) == nil)
        #expect(window.unansweredCount == 1)
        #expect(window.answered(599) == 1)
    }
}

@Suite("Asking an rpc-server who it is")
struct ServerInterviewTests {
    @Test("the version and every device's memory come out, however the answers are cut")
    func facts() throws {
        var interview = ServerInterview()
        #expect(interview.opening == Requests.hello)
        let steps = [
            (Requests.helloReply, ServerInterview.Step.send(RPCRequest(.deviceCount).bytes)),
            (Requests.reply([2, 0, 0, 0]), .send(RPCRequest(.getDeviceMemory, body: [0, 0, 0, 0]).bytes)),
            (
                Requests.reply(LittleEndian.bytes(UInt64(5)) + LittleEndian.bytes(UInt64(6))),
                .send(RPCRequest(.getDeviceMemory, body: [1, 0, 0, 0]).bytes)
            ),
        ]
        for (reply, expected) in steps {
            for byte in reply.dropLast() { #expect(try interview.received([byte]) == .wait) }
            #expect(try interview.received(reply.suffix(1)) == expected)
        }
        #expect(interview.factsSoFar == nil)
        var devices = [
            RPCServerFacts.Device(freeByteCount: 5, totalByteCount: 6),
            RPCServerFacts.Device(freeByteCount: 7, totalByteCount: 8),
        ]
        let alignment = RPCRequest(.getAlignment, body: [0, 0, 0, 0]).bytes
        #expect(try interview.received(number(7, 8)) == .send(alignment))
        #expect(interview.factsSoFar == RPCServerFacts(protocolVersion: "7.0.0", devices: devices))
        // The first device pads rows, the second does not.
        for (index, size) in [(0, 256), (1, 216)] as [(Int, UInt64)] {
            let device = LittleEndian.bytes(UInt32(index))
            #expect(try interview.received(number(32)) == .send(RPCRequest(.getMaxSize, body: device).bytes))
            guard case .send(let question) = try interview.received(number(.max)) else { Issue.record(); return }
            #expect(question[0] == RPCCommand.getAllocSize.rawValue)
            #expect(Array(question[9..<13]) == device)
            devices[index].alignment = 32
            devices[index].maxByteCount = .max
            devices[index].addsNoPadding = index == 1
            let step = try interview.received(number(size))
            if index == 0 {
                #expect(step == .send(RPCRequest(.getAlignment, body: [1, 0, 0, 0]).bytes))
            } else {
                var facts = RPCServerFacts(protocolVersion: "7.0.0", devices: devices)
                facts.hello = [7] + Array(repeating: 0, count: 27)
                #expect(step == .done(facts))
            }
        }
    }

    @Test("a server that answers what is asked in addition in another way is used as far as it was understood")
    func additionalQuestions() throws {
        var interview = ServerInterview()
        for reply in [Requests.helloReply, Requests.reply([1, 0, 0, 0]), number(5, 6)] {
            _ = try interview.received(reply)
        }
        let device = RPCServerFacts.Device(freeByteCount: 5, totalByteCount: 6)
        let facts = RPCServerFacts(protocolVersion: "7.0.0", devices: [device])
        #expect(try interview.received(Requests.reply([1, 2, 3])) == .done(facts))
        #expect(ProbeAnswers(facts).count == 0)
    }

    private func number(_ numbers: UInt64...) -> [UInt8] { Requests.reply(numbers.flatMap { LittleEndian.bytes($0) }) }

    @Test("a server of another version, another kind, or without devices is refused in words")
    func refusals() {
        let old = Requests.reply([3, 6, 0, 0] + Array(repeating: 0, count: 24))
        for (replies, word) in [
            ([old], "3.6.0"), ([Array("HTTP/1.1 400 Bad Request\r\n".utf8)], "no rpc-server"),
            ([Requests.helloReply + [1]], "more than"),
            ([Requests.helloReply, Requests.reply([0, 0, 0, 0])], "0 devices"),
            ([Requests.helloReply, Requests.reply([255, 255, 0, 0])], "65535 devices"),
        ] {
            var interview = ServerInterview()
            let error = #expect(throws: (any Error).self) {
                for reply in replies { _ = try interview.received(reply) }
            }
            #expect("\(error.map { "\($0)" } ?? "")".contains(word))
        }
    }
}
