import NIOCore
import ShoalCore
import ShoalDiscovery
import ShoalEngine
import ShoalLinks
import ShoalModel
import ShoalTesting
import ShoalTrust
import ShoalWire
import Testing

@testable import ShoalGateway

/// Everything that reads what others wrote: it may refuse, it may not trap, and what it accepts must make sense.
@Suite("No input traps", .timeLimit(.minutes(60)))
struct DecoderFuzzTests {
    /// Calls `body` with a generator and one of the samples, so often as the run says.
    private func fuzz(
        _ target: String, _ samples: [[UInt8]],
        _ body: (_ sample: [UInt8], inout SeededGenerator, _ place: Comment) throws -> Void
    ) rethrows {
        let run = FuzzRun(of: target)
        for iteration in 0..<run.iterationCount {
            var random = run.generator(iteration: iteration)
            let sample = samples[iteration % samples.count]
            try body(sample, &random, "\(target): SHOAL_SEED=\(run.seed), iteration \(iteration)")
        }
    }

    @Test("model headers, and what is computed from them")
    func models() throws {
        try fuzz("GGUF", [TinyModelFile().bytes(), TinyModelFile(seed: 9).bytes()]) { sample, random, place in
            let bytes = ByteMutation.mutated(sample, using: &random)
            guard let model = try? ModelIndex.read(MemoryBytes(bytes), fileName: "fuzz.gguf") else { return }
            let layers = try #require(model.layers, place)
            #expect(layers.count <= Limits.layerCountMax, place)
            _ = model.shape.weightBytes(of: layers)
            _ = model.shape.cacheBytes(
                of: layers, contextTokenCount: Limits.contextTokenCountMax, sequenceCount: Limits.sequenceCountMax)
            for cut in model.shape.legalCuts.prefix(4) {
                for half in [LayerRange(first: 0, end: cut), LayerRange(first: cut, end: layers.end)] {
                    guard let half, let layout = try? model.stageLayout(half) else { continue }
                    let inside = layout.extents.allSatisfy { extent in
                        extent.virtualOffset >= 0 && extent.byteCount >= 0
                            && extent.virtualOffset <= layout.byteCount - extent.byteCount
                            && (extent.fileIndex == nil || extent.fileOffset <= bytes.count - extent.byteCount)
                    }
                    #expect(inside, place)
                }
            }
        }
    }

    @Test("streams of frames, in pieces of any size, and the descriptions in them")
    func frames() throws {
        fuzz("frames", try Samples.frames()) { sample, random, _ in
            let bytes = ByteMutation.mutated(sample, using: &random)
            var reader = FrameReader()
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = Int.random(in: 1...64, using: &random)
                reader.append(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
                do {
                    while let frame = try reader.next() { Samples.decodeAll(frame) }
                } catch {
                    return
                }
            }
        }
    }

    @Test("JSON between nodes and engines")
    func messages() throws {
        fuzz("messages", try Samples.messages()) { sample, random, _ in
            let isBroken = Int.random(in: 0..<4, using: &random) == 0
            let bytes =
                isBroken
                ? JSONMutation.broken(sample, using: &random) : JSONMutation.mutated(sample, using: &random)
            Samples.decodeAll(Frame(kind: .hello, description: ByteBuffer(bytes: bytes)))
        }
    }

    @Test("beacons")
    func beacons() {
        let beacon = Beacon(
            kind: .announcement, protocolNumber: 1, cluster: ClusterTag(rawValue: .max), node: .random(), linkPort: 9)
        fuzz("beacons", [BeaconCodec.encode(beacon)]) { sample, random, place in
            let bytes = ByteMutation.mutated(sample, using: &random)
            guard let beacon = try? BeaconCodec.decode(bytes) else { return }
            #expect(BeaconCodec.encode(beacon) == bytes, place)
        }
    }

    @Test("invite codes")
    func invites() throws {
        let trust = try ClusterTrust.inMemory(nodeName: "a")
        let code = try trust.invite(
            addresses: ["127.0.0.1:1", "[::1]:7461", "host.example:65535"], lifetimeSeconds: 60, now: 0
        ).1.description
        fuzz("invites", [Array(code.utf8)]) { sample, random, place in
            let bytes = ByteMutation.mutated(sample, using: &random)
            guard let read = try? InviteCode(parsing: String(decoding: bytes, as: UTF8.self)) else { return }
            #expect(read.description == code, place)
        }
    }

    @Test("request bodies")
    func requests() {
        fuzz("HTTP bodies", Samples.requestBodies.map { Array($0.utf8) }) { sample, random, place in
            let isBroken = Int.random(in: 0..<3, using: &random) == 0
            let bytes =
                isBroken
                ? JSONMutation.broken(sample, using: &random) : JSONMutation.mutated(sample, using: &random)
            guard let json = try? JSONParser.parse(bytes) else { return }
            #expect((try? JSONParser.parse(Array(json.text.utf8))) == json, place)
            _ = try? ChatCompletionRequest(json)
            _ = try? CompletionRequest(json)
            _ = try? LoadRequest(json)
        }
    }

    @Test("files of trust")
    func trustFiles() throws {
        let trust = try ClusterTrust.inMemory(nodeName: "a")
        _ = try trust.invite(addresses: ["127.0.0.1:1"], lifetimeSeconds: 60, now: 0)
        let records = Array(try FrameJSON.encode(trust.records).readableBytesView)
        try fuzz("member records", [records]) { sample, random, place in
            let bytes = JSONMutation.mutated(sample, using: &random)
            guard let foreign = try? FrameJSON.decode([MemberRecord].self, from: ByteBuffer(bytes: bytes)) else {
                return
            }
            try trust.merge(foreign)
            #expect(trust.members.map(\.nodeID) == [trust.nodeID], place)
        }
    }
}
