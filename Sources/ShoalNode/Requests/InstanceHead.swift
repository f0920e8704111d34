import ShoalCore

/// What heads an instance, whichever engine computes it.
protocol InstanceHead: AnyObject, Sendable {
    nonisolated var order: InstanceOrder { get }

    /// Begins to bring the instance up; progress shows in `report`.
    func start() async
    /// Ends all requests with `reason` and frees everything on every node; returns when that is done.
    func stop(_ reason: ShoalError) async
    /// About once a second: deadlines. Waits for nobody.
    func tick() async
    /// About once a second, unless somebody asked does not answer: what the parts look like now.
    func refresh() async
    func report() async -> InstanceReport
    /// No new requests; what runs may end.
    func drain() async
    /// A node does not answer; it may be away for a moment.
    func nodeSuspected(_ suspect: NodeID, _ error: ShoalError) async
    func nodeReturned(_ node: NodeID) async
    func nodeLost(_ lost: NodeID, _ error: ShoalError) async
    func stageProgressed(_ index: Int, generation: UInt32, fraction: Double) async
    func stageLost(_ index: Int, generation: UInt32, error: ShoalError) async
    func dataLinkLost(after index: Int?, generation: UInt32, error: ShoalError) async
}

extension HeadService: InstanceHead {}
