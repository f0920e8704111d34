import ShoalCore
import Synchronization

/// A cluster of one node and one instance that remembers what it was asked.
final class ScriptedCluster: ClusterService {
    private let loads = Mutex<[LoadRequest]>([])
    private let stops = Mutex<[InstanceID]>([])
    private let refusal: ShoalError?
    private let phase: InstancePhase
    private let isWanted: Bool

    /// `refusal` is what every plan and load fails with.
    init(refusal: ShoalError? = nil, phase: InstancePhase = .ready, isWanted: Bool = true) {
        self.refusal = refusal
        self.phase = phase
        self.isWanted = isWanted
    }

    var loadRequests: [LoadRequest] { loads.withLock { $0 } }
    var stoppedInstances: [InstanceID] { stops.withLock { $0 } }

    static let instance = InstanceID(rawValue: 0xABC)
    private static var node: NodeID { NodeID("00ff") ?? .random() }

    func nodes() async -> [NodeReport] {
        [NodeReport(name: "a", linkAddress: "127.0.0.1:7461", reachability: .this)]
    }

    func instances() async -> [InstanceReport] { [report(model: "models/tiny.gguf")] }

    func plan(_ request: LoadRequest) async throws(ShoalError) -> PlanReport {
        loads.withLock { $0.append(request) }
        if let refusal { throw refusal }
        return PlanReport(
            model: request.model, family: "llama", layerCount: 30, stages: [], boundaryBytesPerToken: ByteCount(2304),
            reasons: ["fits on a"])
    }

    func load(_ request: LoadRequest) async throws(ShoalError) -> InstanceReport {
        loads.withLock { $0.append(request) }
        if let refusal { throw refusal }
        return report(model: request.model)
    }

    func stop(_ instance: InstanceID) async throws(ShoalError) { stops.withLock { $0.append(instance) } }

    func links() async throws(ShoalError) -> ReachReport {
        if let refusal { throw refusal }
        let link = LinkReport(
            from: Self.node, fromName: "a", to: Self.node, toName: "b", address: "10.0.0.2:7461", state: .timedOut,
            checkedUnixSeconds: 1_700_000_000)
        return ReachReport(links: [link])
    }

    func doctor() async throws(ShoalError) -> DoctorReport {
        DoctorReport(checks: [DoctorCheck(.failure, "a cannot reach b", advice: "open the port")])
    }

    func engineLogs(of nodeOrInstance: String) async throws(ShoalError) -> [EngineLogReport] {
        guard nodeOrInstance == "a" || nodeOrInstance == "\(Self.instance)" else {
            throw ShoalError(.notFound, "there is no node and no instance \"\(nodeOrInstance)\"")
        }
        return [
            EngineLogReport(
                instance: Self.instance, model: "tiny", nodeName: "a", stageIndex: 0, processID: 7, launch: nil,
                lines: ["loaded"])
        ]
    }

    func traces(of request: RequestID?) async throws(ShoalError) -> [TraceReport] {
        let known = RequestID(rawValue: 0x2a)
        guard request == nil || request == known else { throw ShoalError(.notFound, "there is no trace") }
        return [
            TraceReport(
                request: known, instance: Self.instance, model: "tiny", headName: "a",
                startedUnixSeconds: 1_700_000_000, places: [], prompt: .init(), decode: .init())
        ]
    }

    func members() async -> [MemberReport] {
        [MemberReport(id: Self.node, name: "a", addedUnixSeconds: 1_700_000_000, isThis: true)]
    }

    func forget(_ member: String) async throws(ShoalError) -> MemberReport {
        if let refusal { throw refusal }
        return MemberReport(id: Self.node, name: member, addedUnixSeconds: 1_700_000_000, isThis: false)
    }

    func invites() async -> [InviteReport] { [] }

    func invite(lifetimeSeconds: Int?) async throws(ShoalError) -> InviteReport {
        if let refusal { throw refusal }
        var report = InviteReport(
            id: "00ff", state: .open, createdUnixSeconds: 1_700_000_000,
            expiresUnixSeconds: 1_700_000_000 + (lifetimeSeconds ?? 3600))
        report.code = "SHOAL1CODE"
        return report
    }

    func revokeInvite(_ id: String) async throws(ShoalError) -> InviteReport {
        if let refusal { throw refusal }
        return InviteReport(id: id, state: .revoked, createdUnixSeconds: 0, expiresUnixSeconds: 0)
    }

    func join(_ code: String) async throws(ShoalError) -> JoinReport {
        if let refusal { throw refusal }
        return JoinReport(clusterID: code, members: await members())
    }

    private func report(model: String) -> InstanceReport {
        var stages: [StageReport] = []
        if let layers = LayerRange(first: 0, end: 30), phase != .ready {
            stages = [StageReport(node: Self.node, nodeName: "a", layers: layers, phase: phase, weightBytes: .zero)]
            (stages[0].restartCount, stages[0].problem) = (2, "killed")
        }
        var report = InstanceReport(
            id: Self.instance, model: model, family: "llama", head: Self.node, headName: "a", phase: phase,
            stages: stages, contextTokenCount: 2048, sequenceCountMax: 4, createdUnixSeconds: 1_700_000_000)
        report.isWanted = isWanted
        return report
    }
}
