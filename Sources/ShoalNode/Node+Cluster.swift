package import ShoalCore
import ShoalEngine

/// What the gateway and the command line ask of the cluster.
extension Node: ClusterService {
    package func nodes() async -> [NodeReport] {
        let own = announcement()
        var report = NodeReport(name: configuration.name, linkAddress: advertisedAddress, reachability: .this)
        report.id = id
        report.apiAddress = configuration.apiAddress
        report.threadCount = own.threadCount
        report.memoryTotal = own.memoryTotal
        report.memoryAvailable = own.memoryAvailable
        report.shoalVersion = own.shoalVersion
        report.engineBuild = own.engineBuild.isEmpty ? nil : own.engineBuild
        return NodeNaming.notingDuplicates([report] + peers.reports())
    }

    /// Newest first.
    package func instances() async -> [InstanceReport] {
        (Array(ownReports.values) + announced.values.joined())
            .sorted { ($0.createdUnixSeconds, $0.id) > ($1.createdUnixSeconds, $1.id) }
    }

    package func load(_ request: LoadRequest) async throws(ShoalError) -> InstanceReport {
        let model = try await models.open(request.model)
        if let running = await runningInstance(of: model.reference.name) {
            guard request.layers.isEmpty else {
                throw ShoalError(
                    .invalidPlacement, "\(running.model) is loaded already; stop it first: shoal stop \(running.id)")
            }
            return running
        }
        let order = try planned(request, model).order
        guard let head = order.stages.last else { throw ShoalError(.internal, "the plan has no stages") }
        let reply = try await ask(head.node, .startInstance(order), deadline: configuration.limits.requestDeadline)
        guard case .instance(let report) = reply else {
            throw ShoalError(.protocolViolation, "node \(head.nodeName) answered something else to startInstance")
        }
        // Its announcement follows; a client that asks before it arrives must find the instance all the same.
        if head.node != id, peers.link(to: head.node) != nil,
            !announced[head.node, default: []].contains(where: { $0.id == report.id })
        {
            announced[head.node, default: []].append(report)
        }
        return report
    }

    /// An instance of the model that its head confirms: an announcement may be older than a stop.
    private func runningInstance(of model: String) async -> InstanceReport? {
        for candidate in await instances() where candidate.model == model && candidate.phase.isAlive {
            do throws(ShoalError) {
                let reply = try await ask(
                    candidate.head, .reportInstance(candidate.id), deadline: configuration.limits.requestDeadline)
                if case .instance(let report) = reply, report.phase.isAlive { return report }
            } catch {
                // A head that is there and does not know the instance has stopped it. One that cannot be asked may
                // still run it.
                guard error.code == .notFound else { return candidate }
                announced[candidate.head]?.removeAll { $0.id == candidate.id }
            }
        }
        return nil
    }

    package func stop(_ instance: InstanceID) async throws(ShoalError) {
        guard let report = await instances().first(where: { $0.id == instance }) else {
            throw ShoalError(.notFound, "there is no instance \(instance); shoal ps lists them")
        }
        _ = try await ask(report.head, .stopInstance(instance), deadline: configuration.limits.textDeadline)
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
                memoryAvailable: limited ?? available, shoalVersion: ShoalVersion.current, speed: speed))
    }

    /// What stages on this node hold, as their heads report it.
    private var ownStageBytes: ByteCount {
        (Array(ownReports.values) + announced.values.joined())
            .flatMap(\.stages).filter { $0.node == id }
            .reduce(.zero) { $0 + ($1.residentBytes ?? $1.weightBytes) }
    }
}

extension InstancePhase {
    /// Whether the instance holds or will hold memory.
    var isAlive: Bool { self != .failed && self != .stopped }
}
