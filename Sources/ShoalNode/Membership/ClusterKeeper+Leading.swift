import Logging
import ShoalCore
import ShoalMembership

/// What the leader does about the difference between what should run and what does.
extension ClusterKeeper {
    func reconcile() {
        for action in desired.reconcile(membership: member.membership, now: now) {
            switch action {
            case .command(let command): give(command)
            case .plan(let ticket): run { await $0.plan(ticket) }
            }
        }
    }

    // MARK: Plans

    private func plan(_ ticket: PlanTicket) async {
        do throws(ShoalError) {
            let order = try await order(for: ticket.wish, knownBy: nil)
            guard let head = order.head else { throw ShoalError(.internal, "the plan has no stages") }
            guard desired.planned(ticket, instance: order.id, head: head) else { return }
            orders[order.id] = order
            isReconcileDue = true
            logger.info("planned", metadata: ["model": "\(ticket.wish.model)", "instance.id": "\(order.id)"])
        } catch {
            let reason = ShoalError(error.code, error.message + missingNodes())
            desired.planFailed(ticket, reason, now: now)
            logger.warning("no plan", metadata: ["model": "\(ticket.wish.model)", "reason": "\(reason.message)"])
        }
    }

    /// Who might help if it came back, as the end of a sentence.
    private func missingNodes() -> String {
        let missing = member.membership.members.filter { $0.state != .alive }.map { nodeName($0.node) }
        guard !missing.isEmpty else { return "" }
        return "; missing: \(missing.sorted().joined(separator: ", "))"
    }

    /// A plan made here if this node has the model's file, else by a node that has: `asker` is one.
    func order(for wish: ModelWish, knownBy asker: NodeID?) async throws(ShoalError) -> InstanceOrder {
        guard let node else { throw ShoalError(.unavailable, "node \(id) is shutting down") }
        var problem: ShoalError
        do throws(ShoalError) {
            return try await node.order(for: wish, askedBy: asker)
        } catch {
            guard error.code == .fileUnreadable else { throw error }
            problem = error
        }
        let others = member.membership.present.filter { member.membership.state(of: $0) == .alive && $0 != asker }
        for other in (asker.map { [$0] } ?? []) + others where other != id {
            do throws(ShoalError) {
                let reply = try await node.ask(other, .planInstance(wish), deadline: limits.requestDeadline)
                guard case .order(let order) = reply, order.model.name == wish.model else { continue }
                return order
            } catch {
                // One without the file, or out of reach, says nothing about the plan.
                let isAboutNode = [.fileUnreadable, .linkLost, .timedOut].contains(error.code)
                guard isAboutNode else { throw error }
                problem = error
            }
        }
        throw problem
    }

    // MARK: Commands

    private func give(_ command: InstanceCommand) {
        guard commands.begin(command, interval: limits.commandInterval, now: now) else { return }
        run { await $0.execute(command) }
    }

    private func execute(_ command: InstanceCommand) async {
        guard let node, let request = request(for: command) else {
            _ = commands.end(command, isReached: true)
            return
        }
        do throws(ShoalError) {
            let reply = try await node.ask(command.head, request, deadline: limits.requestDeadline)
            _ = commands.end(command, isReached: true)
            guard command.term == member.term else { return }
            if command.verb == .start, case .instance(let report) = reply { startReports[command.instance] = report }
            if command.verb == .remove { desired.noteStopped(command.instance) }
        } catch {
            refused(command, error)
        }
    }

    private func refused(_ command: InstanceCommand, _ error: ShoalError) {
        let isReached = error.code != .linkLost && error.code != .timedOut
        let failureCount = commands.end(command, isReached: isReached)
        let metadata: Logger.Metadata = [
            "verb": "\(command.verb)", "instance.id": "\(command.instance)", "error": "\(error.message)",
        ]
        logger.info("a command was not obeyed", metadata: metadata)
        guard command.verb == .start else {
            // An instance that its head does not know is not there any more.
            if error.code == .notFound { desired.noteStopped(command.instance) }
            return
        }
        guard isReached || failureCount >= limits.startAttemptCountMax else { return }
        desired.startFailed(command, error, now: now)
        isReconcileDue = true
    }

    private func request(for command: InstanceCommand) -> ControlRequest? {
        switch command.verb {
        case .start: orders[command.instance].map { .startInstance($0, command.wish, command.term) }
        case .adopt: .adoptInstance(command.instance, command.term)
        case .drain: .drainInstance(command.instance, command.term)
        case .remove: .stopInstance(command.instance, command.term)
        }
    }
}
