package import ShoalCore
import ShoalEngine
import ShoalMembership

/// What the gateway and the command line ask of the cluster.
extension Node: ClusterService {
    package func nodes() async -> [NodeReport] {
        let view = await keeper.view
        let own = announcement()
        var report = NodeReport(name: configuration.name, linkAddress: advertisedAddress, reachability: .this)
        report.id = id
        report.apiAddress = configuration.apiAddress
        report.threadCount = own.threadCount
        report.memoryTotal = own.memoryTotal
        report.memoryAvailable = own.memoryAvailable
        report.shoalVersion = own.shoalVersion
        report.state = .alive
        report.stateSeconds = view.ownSeconds
        report.engineBuild = own.engineBuild.isEmpty ? nil : own.engineBuild
        let known = peers.reports()
        let lost = view.rows.keys.filter { node in node != id && !known.contains { $0.id == node } }.map(lostNode)
        // An address that a lost node had is no node of its own.
        let addresses = Set(lost.map(\.linkAddress))
        let others = known.filter { $0.id != nil || !addresses.contains($0.linkAddress) } + lost
        let sorted = others.sorted { ($0.name, $0.linkAddress) < ($1.name, $1.linkAddress) }
        return NodeNaming.notingDuplicates([report] + sorted).map { report in
            var report = report
            if let id = report.id, let row = view.rows[id] {
                report.state = NodeReport.State(row.state)
                report.stateSeconds = row.seconds
            }
            if let term = view.term, term.leader == report.id { report.leadingTerm = term.counter }
            return report
        }
    }

    /// A member that this node has no link to.
    private func lostNode(_ node: NodeID) -> NodeReport {
        let target = peers.targets.first { $0.value.lastNode == node }
        var report = NodeReport(
            name: keeper.nodeName(node), linkAddress: target?.key ?? "-", reachability: .unreachable)
        report.id = node
        report.problem = target?.value.problem ?? "no link to it"
        return report
    }

    /// Newest first, those that should run and do not before all others.
    package func instances() async -> [InstanceReport] {
        let view = await keeper.view
        let running = (Array(ownReports.values) + announced.values.joined())
            .sorted { ($0.createdUnixSeconds, $0.id) > ($1.createdUnixSeconds, $1.id) }
        let held = Set(running.filter { $0.isWanted && $0.phase != .failed }.compactMap(\.slot))
        let failed = Set(running.filter { $0.phase == .failed }.compactMap(\.slot))
        let unfulfilled = view.slots.filter { entry in
            guard entry.isWanted, !held.contains("\(entry.slot)") else { return false }
            // The instance that failed says it better.
            let isGivenUp = view.statuses.first { $0.slot == entry.slot }.map { $0.state == .failed } ?? true
            return !(isGivenUp && failed.contains("\(entry.slot)"))
        }
        return unfulfilled.map { waiting($0, view) } + running
    }

    /// A model that should run and has no instance.
    private func waiting(_ entry: DesiredInstance, _ view: ClusterView) -> InstanceReport {
        let leader = view.term?.leader ?? id
        let status = view.statuses.first { $0.slot == entry.slot }
        var report = InstanceReport(
            id: InstanceID(rawValue: entry.slot.rawValue), model: entry.wish.model, family: "", head: leader,
            headName: keeper.nodeName(leader), phase: status?.state == .failed ? .failed : .waiting, stages: [],
            contextTokenCount: entry.wish.request.contextTokenCount ?? 0,
            sequenceCountMax: entry.wish.request.sequenceCountMax ?? 0, createdUnixSeconds: 0)
        report.slot = "\(entry.slot)"
        report.problem = status?.reason?.message
        report.problemCode = status?.reason?.code
        return report
    }

    package func load(_ request: LoadRequest) async throws(ShoalError) -> InstanceReport {
        let model = try await models.open(request.model)
        var request = request
        // Whichever node plans looks for this file first.
        if let draft = try await openDraft(request, model) { request.draft = draft.reference.path }
        let reply = try await askLeader(.load(ModelWish(model.reference, request)))
        guard case .instance(let report) = reply else {
            throw ShoalError(.protocolViolation, "the leader answered something else to load")
        }
        // Its announcement follows; a client that asks before it arrives must find the instance all the same.
        if report.head != id, peers.link(to: report.head) != nil,
            !announced[report.head, default: []].contains(where: { $0.id == report.id })
        {
            announced[report.head, default: []].append(report)
        }
        return report
    }

    package func stop(_ instance: InstanceID) async throws(ShoalError) {
        guard let report = await instances().first(where: { $0.id == instance }),
            let slot = report.slot.flatMap(SlotID.init)
        else {
            throw ShoalError(.notFound, "there is no instance \(instance); shoal ps lists them")
        }
        _ = try await askLeader(.unload(slot, instance, head: report.head))
        announced[report.head]?.removeAll { $0.id == instance }
    }

    /// What this node could take now.
    func announcement() -> NodeAnnouncement {
        let held = ownStageBytes
        let available = MachineFacts.memoryAvailable ?? .zero
        let limited = configuration.memoryLimit.map { min($0.minus(held), available) }
        return withLinks(
            NodeAnnouncement(
                id: id, name: configuration.name, linkAddress: advertisedAddress, apiAddress: configuration.apiAddress,
                threadCount: configuration.threadCount, memoryTotal: MachineFacts.memoryTotal ?? .zero,
                memoryAvailable: limited ?? available, shoalVersion: ShoalVersion.current, rpc: rpcCapability,
                speed: speed))
    }

    /// What stages on this node hold, as their heads report it.
    private var ownStageBytes: ByteCount {
        (Array(ownReports.values) + announced.values.joined())
            .flatMap(\.stages).filter { $0.node == id }
            .reduce(ownDraftBytes) { $0 + ($1.residentBytes ?? $1.weightBytes) }
    }

    private var ownDraftBytes: ByteCount {
        ownReports.values.compactMap(\.draft).reduce(.zero) { $0 + ($1.residentBytes ?? $1.weightBytes) }
    }
}

extension InstancePhase {
    /// Whether the instance holds or will hold memory.
    var isAlive: Bool { self != .failed && self != .stopped }
}

extension NodeReport.State {
    init(_ state: MemberState) {
        switch state {
        case .alive: self = .alive
        case .suspect: self = .suspect
        case .dead: self = .dead
        }
    }
}
