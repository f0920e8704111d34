import ShoalCore
import ShoalModel
import ShoalPlanning
import Testing

@Suite("Planner")
struct PlannerTests {
    @Test("a model that fits one node is not cut, and the report says why")
    func solo() throws {
        let plan = try Planner.plan(
            request(shape(layersMiB: [20, 20, 20, 20])), nodes: nodes([500, 500], threads: [1, 4]))
        #expect(plan.stages.map(\.nodeName) == ["b"])
        #expect(plan.stages[0].layers == LayerRange(first: 0, end: 4))
        #expect(plan.reasons.joined(separator: "; ").contains("the best split, over"))
        #expect(plan.reasons.joined(separator: "; ").contains("predicted fastest of the 2 nodes"))
    }

    @Test(
        "small models stay on one node, larger ones take as many nodes as they need, too large ones are refused",
        arguments: [(2, 1), (6, 1), (9, 2), (14, 2), (17, 3), (22, 3), (30, 0), (300, 0)])
    func sizes(layerCount: Int, nodeCount: Int) throws {
        let asked = request(shape(layersMiB: Array(repeating: 100, count: layerCount)))
        let pool = nodes([950, 950, 950])
        guard nodeCount > 0 else {
            let error = try #require(failure(asked, pool))
            #expect(error.code == .insufficientMemory)
            #expect(error.message.contains("has 2.8 GiB"), "\(error.message)")
            return
        }
        let plan = try Planner.plan(asked, nodes: pool)
        #expect(plan.stages.count == nodeCount)
        let reasons = plan.reasons.joined(separator: "; ")
        #expect(
            reasons.contains(nodeCount == 1 ? "the whole model fits on" : "\(nodeCount) stages are the fewest"),
            "\(reasons)")
    }

    @Test("measured speed beats thread counts")
    func measured() throws {
        var pool = nodes([500, 500], threads: [1, 4])
        pool[0].speed = speed(1)
        pool[1].speed = speed(2)
        let plan = try Planner.plan(request(shape(layersMiB: [20, 20])), nodes: pool)
        #expect(plan.stages.map(\.nodeName) == ["a"])
    }

    @Test("a model that fits nowhere alone takes as few nodes as hold it, and says what the others are not used for")
    func split() throws {
        let pool = nodes([170, 170, 170, 30])
        let plan = try Planner.plan(request(shape(layersMiB: Array(repeating: 20, count: 8))), nodes: pool)
        #expect(plan.stages.count == 2)
        let reasons = plan.reasons.joined(separator: "; ")
        #expect(reasons.contains("no node can hold the whole model"))
        #expect(reasons.contains("2 stages are the fewest"))
        #expect(reasons.contains("is not needed"))
        #expect(reasons.contains("d is not used: it has 30.0 MiB, and its smallest useful shard needs"))
    }

    @Test("what the head needs besides its stage counts on the head's node alone")
    func draftModel() throws {
        var asked = request(shape(layersMiB: Array(repeating: 20, count: 8)))
        let pool = nodes([170, 170, 170])
        let needs = StageNeeds(asked)
        let plain = try Planner.plan(asked, nodes: pool)
        #expect(plain.stages.count == 2)
        asked.headExtraBytes = ByteCount(60 << 20)
        #expect(StageNeeds(asked).neededBytes(0, 3) == needs.neededBytes(0, 3))
        #expect(StageNeeds(asked).neededBytes(5, 8) == needs.neededBytes(5, 8) + (60 << 20))
        let plan = try Planner.plan(asked, nodes: pool)
        #expect(plan.stages.allSatisfy { $0.neededBytes <= ByteCount(170 << 20) })
        asked.headExtraBytes = ByteCount(600 << 20)
        #expect(failure(asked, pool)?.code == .insufficientMemory)
    }

    @Test("the order in which nodes were found changes nothing")
    func order() throws {
        let pool = nodes([170, 190, 160])
        let asked = request(shape(layersMiB: Array(repeating: 20, count: 8)))
        #expect(try Planner.plan(asked, nodes: pool) == Planner.plan(asked, nodes: pool.reversed()))
    }

    @Test("a refusal carries the numbers, and the size of a node that would help is exact")
    func refusal() throws {
        let asked = request(shape(layersMiB: Array(repeating: 20, count: 8)))
        let pool = nodes([100, 100])
        let error = try #require(failure(asked, pool))
        #expect(error.code == .insufficientMemory)
        #expect(error.message.contains("has 200.0 MiB: a 100.0 MiB, b 100.0 MiB"))
        #expect(error.message.contains("one more node with at least"))
        #expect(failure(asked, [])?.message == "sample: no node is reachable")
        let needs = StageNeeds(asked)
        let sizes = (0..<8).flatMap { first in (first + 1...8).map { needs.neededBytes(first, $0) } }.sorted()
        let least = try #require(sizes.first { BruteForce(asked, pool + [further($0)], []).best() != nil })
        #expect(error.message.contains("at least \(ByteCount(least)) would"))
    }

    @Test("a model that cannot be cut is refused with that reason")
    func uncuttable() {
        let whole = shape(layersMiB: [20, 20, 20], peculiarLayerCount: 3)
        #expect(failure(request(whole), nodes([80, 80]))?.message.contains("cannot be cut") == true)
    }

    @Test("more nodes than the exact search takes are still used")
    func manyNodes() throws {
        let pool = nodes(Array(repeating: 80, count: 14))
        let plan = try Planner.plan(request(shape(layersMiB: Array(repeating: 20, count: 20))), nodes: pool)
        #expect(plan.stages.count > 8)
        #expect(plan.stages.last?.layers.end == 20)
        #expect(plan.stages.allSatisfy { $0.neededBytes <= $0.availableBytes })
    }

    // MARK: By hand

    @Test("assigned layers are taken as they are, in any order, by name or id")
    func explicit() throws {
        let asked = request(shape(layersMiB: [20, 20, 20, 20]), layers: [("b", 1, 3), ("a", 0, 0)])
        let plan = try Planner.plan(asked, nodes: nodes([500, 500]))
        #expect(plan.stages.map(\.nodeName) == ["a", "b"])
        #expect(plan.stages.map(\.layers.description) == ["0", "1-3"])
    }

    @Test("assignments that cannot be are refused with a sentence")
    func explicitRefusals() {
        let cases: [([(String, Int, Int)], String)] = [
            ([("a", 0, 1), ("z", 2, 3)], "no node is named \"z\"; there are a, b"),
            ([("a", 0, 2), ("b", 2, 3)], "layer 2 is assigned twice"),
            ([("a", 0, 0), ("b", 2, 3)], "layer 1 is assigned to no node; the model has the layers 0-3"),
            ([("a", 1, 3)], "layer 0 is assigned to no node"),
            ([("a", 0, 1)], "the layers 2-3 are assigned to no node"),
            ([("a", 0, 1), ("b", 2, 4)], "layers 2-4 are outside the model"),
            ([("a", 0, 1), ("a", 2, 3)], "a is named twice"),
        ]
        for (layers, expected) in cases {
            let error = failure(request(shape(layersMiB: [20, 20, 20, 20]), layers: layers), nodes([500, 500]))
            #expect(error?.code == .invalidPlacement)
            #expect(error?.message.contains(expected) == true, "\(expected): \(error?.message ?? "accepted")")
        }
    }

    @Test("an illegal cut by hand is refused with the family's reason")
    func illegalCut() {
        let asked = request(shape(layersMiB: [20, 20, 20], peculiarLayerCount: 3), layers: [("a", 0, 0), ("b", 1, 2)])
        #expect(failure(asked, nodes([500, 500]))?.message.contains("cannot be cut") == true)
    }

    @Test("layers that do not fit the node they were assigned to are refused with both numbers")
    func tooSmall() {
        let asked = request(shape(layersMiB: [20, 20, 20, 20]), layers: [("a", 0, 2), ("b", 3, 3)])
        let error = failure(asked, nodes([60, 500]))
        #expect(error?.code == .insufficientMemory)
        #expect(error?.message.contains("on a, which has 60.0 MiB available; give it fewer layers") == true)
    }

    @Test("a request out of range is refused", arguments: [0, -1, 1 << 40])
    func badRequest(context: Int) {
        let asked = LoadRequest(model: "m", contextTokenCount: context)
        #expect(throws: ShoalError.self) { try PlanRequest(asked, modelName: "m", shape: shape(layersMiB: [1])) }
    }

    // MARK: Helpers

    private func failure(_ request: PlanRequest, _ nodes: [PlannerNode]) -> ShoalError? {
        do {
            _ = try Planner.plan(request, nodes: nodes)
            return nil
        } catch { return error }
    }

    private func further(_ byteCount: Int) -> PlannerNode {
        var node = nodes([0])[0]
        node.availableBytes = ByteCount(byteCount)
        return node
    }
}
