import ShoalCore
import ShoalModel
import ShoalPlanning
import Testing

@Suite("Predictions")
struct PredictionTests {
    private let layers = shape(layersMiB: Array(repeating: 20, count: 8))

    private func pool(_ sizes: [Int], _ factors: [Double]) -> [PlannerNode] {
        var pool = nodes(sizes)
        for index in pool.indices { pool[index].speed = speed(factors[index]) }
        return pool
    }

    @Test("a token's time is the sum of stages and hops, and the parts are shown")
    func sum() throws {
        let pool = pool([150, 150], [1, 2])
        let plan = try Planner.plan(request(layers), nodes: pool, links: links(pool, roundTrip: 4e-3))
        let prediction = try #require(plan.prediction)
        let parts = try plan.stages.map { try #require($0.prediction) }
        #expect(parts.count == 2)
        let total = parts.reduce(0) { $0 + $1.millisecondsPerToken + $1.hopMilliseconds }
        #expect(abs(total - prediction.millisecondsPerToken) < 1e-6)
        #expect(parts.allSatisfy { $0.hopMilliseconds > 2 })
        #expect(prediction.timeToFirstTokenSeconds > parts.map(\.promptSeconds).max() ?? 0)
        #expect(prediction.timeToFirstTokenSeconds < parts.reduce(0) { $0 + $1.promptSeconds } + 0.1)
    }

    @Test("what nobody measured is named: speeds, links, disks")
    func assumptions() throws {
        var pool = pool([150, 150], [1, 1])
        pool[1].speed = nil
        let plan = try Planner.plan(request(layers), nodes: pool)
        let said = try #require(plan.prediction).assumptions.joined(separator: "; ")
        #expect(said.contains("the speed of b is not measured yet"))
        #expect(said.contains("links not measured yet: "))
        #expect(said.contains("nothing was loaded on a, b yet"))
        pool[1].speed = speed(1)
        for index in pool.indices {
            let isNew = pool[index].speed?.observeLoad(model: "sample", byteCount: ByteCount(1 << 30), seconds: 1)
            #expect(isNew == true)
        }
        let measured = try Planner.plan(request(layers), nodes: pool, links: links(pool))
        #expect(try #require(measured.prediction).assumptions.isEmpty)
    }

    @Test("a weight type that was not measured is replaced by the most similar one, and that is said")
    func standIn() throws {
        var odd = layers
        for index in odd.layerWork.indices { odd.layerWork[index].weights[0].type = "iq4_nl" }
        let plan = try Planner.plan(request(odd), nodes: pool([500], [1]))
        #expect(try #require(plan.prediction).assumptions.contains { $0.contains("a has not measured iq4_nl; q8_0") })
    }

    @Test("with many requests a split carries more than one node, and is chosen for throughput only")
    func objectives() throws {
        let pool = pool([500, 500], [1, 1])
        var asked = request(layers)
        let links = links(pool, roundTrip: 1e-4, bytesPerSecond: 1e9)
        #expect(try Planner.plan(asked, nodes: pool, links: links).stages.count == 1)
        asked.objective = .throughput
        asked.sequenceCount = 8
        let plan = try Planner.plan(asked, nodes: pool, links: links)
        #expect(plan.stages.count == 2)
        #expect(plan.reasons.first?.contains("could hold the whole model") == true)
        #expect(plan.alternatives.contains { $0.stages.count == 1 })
    }

    @Test("unmeasured speeds do not make a split out of what one node holds")
    func caution() throws {
        var asked = request(layers)
        asked.objective = .throughput
        let plan = try Planner.plan(asked, nodes: nodes([500, 100]))
        #expect(plan.stages.count == 1)
    }

    @Test("slow links are avoided")
    func slowLinks() throws {
        let pool = pool([120, 120, 120], [1, 1, 1])
        var known = links(pool, roundTrip: 1e-3)
        for index in known.indices where [known[index].from, known[index].to].contains(pool[1].id) {
            known[index].roundTripSeconds = 0.05
        }
        let plan = try Planner.plan(request(shape(layersMiB: [20, 20, 20, 20])), nodes: pool, links: known)
        #expect(plan.stages.map(\.nodeName).sorted() == ["a", "c"])
    }

    @Test("a GPU's memory is apart: weights must fit there, the process beside it")
    func accelerator() throws {
        var pool = pool([500], [1])
        pool[0].acceleratorBytes = ByteCount(100 << 20)
        #expect(throws: ShoalError.self) { try Planner.plan(request(layers), nodes: pool) }
        pool[0].acceleratorBytes = ByteCount(400 << 20)
        pool[0].availableBytes = ByteCount(64 << 20)
        #expect(try Planner.plan(request(layers), nodes: pool).stages.first?.availableBytes == ByteCount(400 << 20))
    }

    // MARK: Observations

    @Test("real runs correct the prediction, within bounds, and the newest count most")
    func observing() throws {
        let whole = try #require(LayerRange(first: 0, end: 8))
        let work = StageSpeed.Work(tokenCount: 1, cachedTokenCount: 100, outputCount: 1)
        var measured = speed(1)
        let node = pool([500], [1])[0]
        let predicted = StageSpeed(shape: layers, modelName: "sample", node: node).computeSeconds(whole, work)
        func run(_ factor: Double, count: Int = 100) -> MeasuredWork {
            MeasuredWork(microBatchCount: count, average: work, seconds: predicted * factor * Double(count))
        }
        func observe(_ work: MeasuredWork, of model: String = "sample") -> Bool {
            measured.observe(model: model, shape: layers, layers: whole, decode: work, prompt: nil)
        }
        let tooFew = observe(run(3, count: 3))
        #expect(!tooFew)
        let first = observe(run(3))
        #expect(first)
        #expect(abs((measured.observations.first?.decodeFactor ?? 0) - 3) < 1e-6)
        var corrected = node
        corrected.speed = measured
        let now = StageSpeed(shape: layers, modelName: "sample", node: corrected).computeSeconds(whole, work)
        #expect(abs(now / predicted - 3) < 1e-6)
        let second = observe(run(1))
        #expect(second)
        #expect(abs((measured.observations.first?.decodeFactor ?? 0) - 2) < 1e-6)
        let third = observe(run(1e6))
        #expect(third)
        #expect(measured.isPlausible)
        for number in 0..<100 { _ = observe(run(1), of: "m\(number)") }
        #expect(measured.observations.count == NodeSpeed.observationCountMax)
        #expect(measured.isPlausible)
    }

    @Test("numbers that no measurement gives are not plausible")
    func implausible() {
        var wrong = speed(1)
        wrong.attentionSecondsPerElement = .nan
        #expect(!wrong.isPlausible)
        wrong = speed(1)
        wrong.matrices["q8_0"]?.secondsPerByte = -1
        #expect(!wrong.isPlausible)
        wrong = speed(1)
        wrong.memoryBytesPerSecond = 0
        #expect(!wrong.isPlausible)
    }

    // MARK: What if

    @Test("imagined nodes make a refused model fit, excluded ones are not used")
    func whatIf() throws {
        let real = pool([60, 60], [1, 1])
        var load = LoadRequest(model: "sample")
        #expect(throws: ShoalError.self) { try Planner.plan(request(layers), nodes: PlannerNode.pool(real, load)) }
        load.imaginedNodes = [try LoadRequest.ImaginedNode(parsing: "big=1GiB")]
        let plan = try Planner.plan(request(layers), nodes: PlannerNode.pool(real, load))
        #expect(plan.stages.map(\.nodeName).contains("big"))
        #expect(plan.prediction?.assumptions.contains { $0.contains("big does not exist") } == true)
        load.excludedNodes = ["a", "b"]
        #expect(try PlannerNode.pool(real, load).map(\.name) == ["big"])
    }

    @Test("names that mean nothing are refused")
    func poolRefusals() {
        let real = pool([60, 60], [1, 1])
        var load = LoadRequest(model: "sample")
        load.excludedNodes = ["z"]
        #expect(throws: ShoalError.self) { try PlannerNode.pool(real, load) }
        load.excludedNodes = ["a", "b"]
        #expect(throws: ShoalError.self) { try PlannerNode.pool(real, load) }
        load.excludedNodes = nil
        load.imaginedNodes = [LoadRequest.ImaginedNode(name: "a", memory: ByteCount(1))]
        #expect(throws: ShoalError.self) { try PlannerNode.pool(real, load) }
        for text in ["big", "=4GB", "big=", "big=0", "big=much"] {
            #expect(throws: ShoalError.self) { try LoadRequest.ImaginedNode(parsing: text) }
        }
    }
}
