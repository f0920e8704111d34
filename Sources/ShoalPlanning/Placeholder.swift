package import ShoalCore
package import ShoalModel
package struct PlanningNode: Sendable { package init(id: NodeID, name: String, availableMemory: ByteCount, threadCount: Int) {} }
package struct PlanningRequest: Sendable { package init(contextTokenCount: Int, sequenceCountMax: Int, assignments: [LoadRequest.Assignment]) {} }
package enum Planner { package static func plan(model: ModelShape, modelName: String, nodes: [PlanningNode], request: PlanningRequest) throws(ShoalError) -> PlanReport { throw ShoalError(.internal, "") } }
