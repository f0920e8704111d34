import ShoalCore
import ShoalEngine
import ShoalModel
import ShoalPlanning
import ShoalStore
import Testing

/// What the planner predicts against what engines allocate: weights, KV cache and compute buffers of libllama, for all
/// families. The whole process is compared for the reference model; of the small ones most is what any process takes.
@Suite("Memory is predicted")
struct MemoryTests {
    @Test("weights and cache to the byte, all buffers within 5 %", arguments: TestModel.families + [.reference])
    func stages(model: TestModel) async throws {
        let path = try model.require().path
        let shape = try StoredModel.open(path: path).index.shape
        let speed = try await MemoryTests.speed()
        let third = model.layerCount / 3
        for (context, sequences) in [(512, 1), (512, 4), (4096, 1), (4096, 4), (1000, 3)] {
            for cuts in [[], [third, 2 * third], [1]] {
                for layers in try model.stages(cutAt: cuts) {
                    var plan = PlanRequest(modelName: model.name, shape: shape)
                    plan.contextTokenCount = context
                    plan.sequenceCount = sequences
                    try await compare(StageNeeds(plan), path, layers, plan, speed)
                }
            }
        }
    }

    private func compare(
        _ needs: StageNeeds, _ path: String, _ layers: LayerRange, _ plan: PlanRequest, _ speed: NodeSpeed
    ) async throws {
        var request = StageLoadRequest(path: path, layers: layers)
        request.contextTokenCount = plan.contextTokenCount
        request.sequenceCountMax = plan.sequenceCount
        request.servesText = layers.end == plan.shape.layerCount
        let engine = try await EngineUnderTest.start()
        let loaded = try await engine.load(request)
        let predicted = needs.parts(layers.first, layers.end)
        let what = "\(plan.modelName) \(layers), \(plan.sequenceCount) x \(plan.contextTokenCount)"
        #expect(loaded.weightBytes.rawValue == predicted.weights, "\(what)")
        #expect(loaded.kvCacheBytes.rawValue == predicted.cache, "\(what)")
        let compute = Double(predicted.compute) / Double(max(1, loaded.computeBufferBytes.rawValue))
        #expect(abs(compute - 1) <= 0.05, "\(what): \(compute) of the compute buffers")
        let isLast = layers.end == plan.shape.layerCount
        let copy = isLast && needs.outputCopyBytes(on: speed) > 0 ? plan.shape.sharedOutputBytes.rawValue : 0
        let buffers = predicted.weights + copy
        #expect(abs(loaded.weightBufferBytes.rawValue - buffers) <= 4096, "\(what): weight buffers")
        guard plan.modelName == TestModel.reference.name else { return }
        // Compute buffers are not touched before the first prompt.
        let resident = Double(loaded.residentBytes.rawValue)
        let expected = Double(predicted.sum + copy - predicted.compute)
        #expect(abs(expected / resident - 1) <= 0.05, "\(what): \(expected / resident) of what is resident")
    }

    private static func speed() async throws -> NodeSpeed {
        let engine = try await EngineUnderTest.start()
        guard case .speed(let speed) = try await engine.ask(.measureSpeed(threadCount: 1)) else {
            throw ShoalError(.protocolViolation, "the reply is no speed")
        }
        return speed
    }
}
