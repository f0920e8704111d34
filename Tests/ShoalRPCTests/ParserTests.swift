import Testing

@testable import ShoalRPC

@Suite("The RPC request parser")
struct ParserTests {
    @Test("requests have the sizes that the pinned ggml-rpc.cpp gives them")
    func sizes() {
        let fixed: [RPCCommand: UInt64] = [
            .hello: 24, .deviceCount: 0, .allocBuffer: 12, .getAlignment: 4, .getMaxSize: 4, .bufferGetBase: 8,
            .freeBuffer: 8, .bufferClear: 9, .setTensorHash: 312, .getTensor: 312, .copyTensor: 592,
            .getDeviceMemory: 4, .initTensor: 296, .getAllocSize: 3260, .graphRecompute: 4, .memsetTensor: 313,
        ]
        for command in RPCCommand.allCases {
            switch command.requestSize {
            case .exactly(let size): #expect(fixed[command] == size, "\(command)")
            case .between: #expect([.setTensor, .graphCompute].contains(command))
            }
        }
        #expect(RPCCommand.allCases.map(\.rawValue) == Array(0...17))
    }

    @Test("the golden bytes of a SET_TENSOR are read")
    func goldenSetTensor() throws {
        let tensor = Requests.tensor("blk.3.ffn_up.weight", type: 3, dimensions: [32, 2, 1, 1])
        let bytes = Requests.setTensor(tensor, offset: 40, data: [9, 8, 7])
        #expect(Array(bytes.prefix(9)) == [6, 0x34, 1, 0, 0, 0, 0, 0, 0])
        var parser = RPCRequestParser()
        let events = events(of: Requests.hello + bytes, chunks: [(Requests.hello + bytes)[...]], &parser)
        guard case .request(let request) = try #require(events.dropFirst().first) else {
            Issue.record("no request: \(events)")
            return
        }
        let head = SetTensorHead(request.front)
        #expect(head.tensor.name == "blk.3.ffn_up.weight")
        #expect(head.tensor.type == 3)
        #expect(head.tensor.dimensions == [32, 2, 1, 1])
        #expect(head.offset == 40)
        #expect(request.remaining == 3)
        #expect(events.last == .body(3))
        #expect(parser.isBetweenRequests)
    }

    @Test("a stream is cut the same way in whatever chunks it comes", arguments: 0..<40)
    func randomChunks(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let requests = Requests.random(30, using: &random)
        let stream = requests.flatMap(\.self)
        var parser = RPCRequestParser()
        let events = events(of: stream, chunks: chunks(stream, using: &random), &parser)
        var found: [[UInt8]] = []
        var position = 0
        for event in events {
            switch event {
            case .request(let request):
                found.append(request.bytes)
                position += request.bytes.count
            case .body(let count):
                found[found.count - 1] += stream[position..<position + count]
                position += count
            case .passThrough, .plain: Issue.record("seed \(seed): \(event)")
            }
        }
        let isWhole = found == requests
        #expect(isWhole, "seed \(seed)")
        #expect(parser.isBetweenRequests, "seed \(seed)")
    }

    @Test("bytes that are not understood come out as they went in, from the first of them", arguments: 0..<40)
    func passThrough(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let good = Requests.random(5, using: &random).flatMap(\.self)
        let bad = Self.violations.randomElement(using: &random) ?? []
        let stream = good + bad + random.bytes(500)
        var parser = RPCRequestParser()
        var plain: [UInt8] = []
        var position = 0
        for event in events(of: stream, chunks: chunks(stream, using: &random), &parser) {
            switch event {
            case .request(let request): position += request.bytes.count
            case .body(let count): position += count
            case .passThrough(let pending):
                #expect(position == good.count, "seed \(seed)")
                plain = pending
                position += pending.count
            case .plain(let count):
                plain += stream[position..<position + count]
                position += count
            }
        }
        let isWhole = plain == Array(stream[good.count...])
        #expect(isWhole, "seed \(seed)")
        #expect(parser.isPassThrough)
    }

    @Test("a stream that does not begin with a HELLO of protocol 7 is not understood")
    func noHello() {
        for stream in [RPCRequest(.deviceCount).bytes, [14, 0, 0, 0, 0, 0, 0, 0, 0], Array("GET / HTTP/1.1\r\n".utf8)] {
            var parser = RPCRequestParser()
            _ = events(of: stream, chunks: [stream[...]], &parser)
            #expect(parser.isPassThrough)
        }
    }

    /// Unknown commands, a second HELLO, sizes that a command does not have.
    private static let violations: [[UInt8]] = [
        [18, 0, 0, 0, 0, 0, 0, 0, 0], [255, 1, 0, 0, 0, 0, 0, 0, 0], Requests.hello,
        [15, 1, 0, 0, 0, 0, 0, 0, 0], [6, 0x30, 1, 0, 0, 0, 0, 0, 0], [10, 11, 0, 0, 0, 0, 0, 0, 0],
        [10, 1, 0, 0, 0x10, 0, 0, 0, 0], [6, 255, 255, 255, 255, 255, 255, 255, 255],
        [13, 0, 0, 0, 0, 0, 0, 0, 0x80],
    ]

    private func events(
        of stream: [UInt8], chunks: [ArraySlice<UInt8>], _ parser: inout RPCRequestParser
    ) -> [RPCRequestParser.Event] {
        var events: [RPCRequestParser.Event] = []
        for chunk in chunks {
            var rest = chunk
            while !rest.isEmpty {
                let (count, event) = rest.withUnsafeBytes { parser.next($0) }
                if let event { events.append(event) }
                guard count > 0 || event != nil else { break }
                rest = rest.dropFirst(count)
            }
        }
        return events
    }
}
