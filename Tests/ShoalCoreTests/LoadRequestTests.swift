import ShoalCore
import Testing

@Suite("Loading what is loaded already")
struct LoadRequestTests {
    private let held: LoadRequest

    init() throws {
        held = LoadRequest(model: "m", layers: try LoadRequest.assignments(parsing: "a=0-3"))
    }

    private func report() -> InstanceReport {
        InstanceReport(
            id: InstanceID(rawValue: 1), model: "m", family: "llama", head: .random(), headName: "a", phase: .ready,
            stages: [], contextTokenCount: 2048, sequenceCountMax: 4, createdUnixSeconds: 0)
    }

    @Test("what a request leaves open, or asks for as it is, is no difference")
    func same() {
        #expect(LoadRequest(model: "m").differences(from: report(), loadedWith: held).isEmpty)
        #expect(held.differences(from: report(), loadedWith: held).isEmpty)
        var explicit = LoadRequest(model: "m", contextTokenCount: 2048, sequenceCountMax: 4)
        explicit.engine = .stages
        explicit.wire = .f32
        explicit.speculation = .auto
        explicit.objective = .latency
        #expect(explicit.differences(from: report(), loadedWith: nil).isEmpty)
        var drafted = held
        drafted.draft = "/models/small.gguf"
        var again = LoadRequest(model: "m")
        again.draft = "/elsewhere/small.gguf"
        #expect(again.differences(from: report(), loadedWith: drafted).isEmpty)
    }

    @Test("each option that a request names and an instance does not have is told")
    func different() throws {
        var other = LoadRequest(
            model: "m", layers: try LoadRequest.assignments(parsing: "b=0-3"), contextTokenCount: 1024,
            sequenceCountMax: 2)
        other.engine = .rpc
        other.wire = .f16
        other.speculation = .off
        other.draft = "small.gguf"
        other.objective = .throughput
        other.rpc = RPCOptions()
        #expect(
            other.differences(from: report(), loadedWith: held) == [
                "--layers", "--engine", "--context", "--sequences", "--wire", "--speculate", "--draft", "--objective",
                "options of llama-server",
            ])
    }
}
