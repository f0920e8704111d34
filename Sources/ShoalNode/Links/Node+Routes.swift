import Logging
import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalReach
import ShoalTrust

/// A connection, and how it came about.
struct OpenedLink {
    var connection: FrameConnection
    var route: LinkRoute
}

/// Connections to members, whoever has to dial for them; docs/decisions/0010-links-without-direction.md.
extension Node {
    /// Opens a connection of its own to a member, whoever has to dial for it.
    func openDataLink(
        to node: NodeID, purpose: LinkHello.Purpose
    ) async throws(ShoalError) -> FrameConnection {
        try await openLink(to: node, purpose: purpose).connection
    }

    /// The same, and says how. Needs a control link to `node`. Throws what each way said.
    func openLink(to node: NodeID, purpose: LinkHello.Purpose) async throws(ShoalError) -> OpenedLink {
        guard peers.link(to: node) != nil else {
            throw ShoalError(.linkLost, "node \(node) is not connected to node \(configuration.name)")
        }
        return try await open(to: node, purpose, by: steps(to: node, mayRelay: true))
    }

    /// Without a third node: for what a third node itself is reached by.
    func openDirectLink(to node: NodeID, purpose: LinkHello.Purpose) async throws(ShoalError) -> FrameConnection {
        try await open(to: node, purpose, by: steps(to: node, mayRelay: false)).connection
    }

    private func open(
        to node: NodeID, _ purpose: LinkHello.Purpose, by steps: [LinkStep]
    ) async throws(ShoalError) -> OpenedLink {
        var failures: [ShoalError] = []
        for step in steps {
            do throws(ShoalError) {
                let opened = try await open(to: node, purpose, by: step)
                if !failures.isEmpty || opened.route != routes[node] {
                    var facts: Logger.Metadata = ["node.id": "\(node)", "route": "\(opened.route)"]
                    if !failures.isEmpty { facts["tried"] = "\(failures.map(\.message).joined(separator: "; "))" }
                    logger.info("connection opened", metadata: facts)
                }
                routes[node] = opened.route
                return opened
            } catch {
                failures.append(error)
                guard error.code != .cancelled, error.code != .notAMember, !Task.isCancelled else { break }
            }
        }
        let code = failures.last?.code ?? .linkLost
        let reasons = failures.map(\.message).joined(separator: "; ")
        throw ShoalError(code, "no connection to node \(memberName(node)): \(reasons.isEmpty ? "no way" : reasons)")
    }

    private func open(
        to node: NodeID, _ purpose: LinkHello.Purpose, by step: LinkStep
    ) async throws(ShoalError) -> OpenedLink {
        switch step {
        case .dial(let addresses):
            let (connection, _, address) = try await dial(node, at: addresses, purpose: purpose)
            return OpenedLink(connection: connection, route: .dialled(address: address))
        case .askToDial:
            return OpenedLink(connection: try await askToDial(node, purpose: purpose), route: .reversed)
        case .relay(let relay):
            let (connection, _) = try await dial(node, through: relay, purpose: purpose)
            return OpenedLink(connection: connection, route: .relayed(through: relay))
        }
    }

    private func steps(to node: NodeID, mayRelay: Bool) -> [LinkStep] {
        let members = security.trust.members.map(\.nodeID)
        let plan = DialPlan.decide(from: id, to: node, matrix: reach.matrix, members: members, name: memberName)
        let steps = LinkStep.steps(
            plan, addresses: addresses(of: node), relays: relays(to: node),
            isControlRelayed: peers.directLink(to: node) == nil)
        return mayRelay ? steps : steps.filter { if case .relay = $0 { false } else { true } }
    }

    /// Peers with a link of their own to `node`, those with the shortest way first.
    func relays(to node: NodeID) -> [NodeID] {
        let near = reach.mediators(to: node).compactMap { relay -> (Duration, NodeID)? in
            guard relay != node, let link = peers.directLink(to: relay) else { return nil }
            return (link.roundTrip ?? .seconds(1), relay)
        }
        return near.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.1)
    }

    // MARK: Dialling

    /// Tries addresses of `node` one after the other. What it finds out goes into the matrix.
    func dial(
        _ node: NodeID, at addresses: [String], purpose: LinkHello.Purpose
    ) async throws(ShoalError) -> (FrameConnection, LinkHello, address: String) {
        var failures: [ShoalError] = []
        for text in addresses.prefix(LinkStep.addressCountMax) {
            do throws(ShoalError) {
                let address = try LinkAddress(parsing: text)
                let (connection, hello) = try await LinkDialer.dial(
                    address, eventLoop: dataLoop, security: security,
                    hello: identity.hello(purpose: purpose), expected: node,
                    deadline: configuration.limits.tryDeadline)
                reached(node, at: address)
                return (connection, hello, text)
            } catch {
                failures.append(error)
                if error.code == .cancelled { break }
                if error.code == .timedOut { reach.found(DialFinding(.timedOut), of: node, at: text) }
                reach.schedule.recheck(node, now: reach.now)
            }
        }
        throw ShoalError(failures.last?.code ?? .linkLost, failures.map(\.message).joined(separator: "; "))
    }

    /// Asks `node`, over its control link, to dial this one.
    private func askToDial(_ node: NodeID, purpose: LinkHello.Purpose) async throws(ShoalError) -> FrameConnection {
        guard let link = peers.link(to: node) else {
            throw ShoalError(.linkLost, "node \(memberName(node)) is not connected")
        }
        let deadline = configuration.limits.reverseDeadline
        let (token, pending) = try reversals.expect(from: node, within: deadline)
        do throws(ShoalError) {
            let order = DialBack(token: token, purpose: purpose, addresses: ownAddresses(seenBy: node))
            _ = try await ask(link, .dialBack(order), deadline: deadline)
        } catch {
            // It may have come all the same, just when the answer was lost.
            if !pending.resolve(.failure(error)), let late = try? await pending.wait() { late.close(because: nil) }
            reversals.forget(token)
            throw error.during("node \(memberName(node)) was asked to dial")
        }
        return try await pending.wait()
    }

    /// Where `node` found this one open comes first.
    private func ownAddresses(seenBy node: NodeID) -> [String] {
        let open = reach.matrix.rows(from: node, to: id).filter { $0.state == .open }.map(\.address)
        var seen: Set<String> = []
        let all = (open + reach.advertised + [linkAddress]).filter { seen.insert($0).inserted }
        return Array(all.prefix(DialBack.addressCountMax))
    }

    /// A peer cannot dial this node and wants to be dialled.
    func dialBack(_ order: DialBack, from link: ControlLink) async throws(ShoalError) {
        if case .reversed = order.purpose {
            throw ShoalError(.invalidRequest, "a connection cannot be reversed twice")
        }
        let node = link.peer.nodeID
        var seen: Set<String> = []
        let told = believable(Array(order.addresses.prefix(DialBack.addressCountMax)), over: link)
        let candidates = (told.prefix(1) + addresses(of: node) + told).filter { seen.insert($0).inserted }
        let (connection, hello, _) = try await dial(node, at: candidates, purpose: .reversed(order.token))
        take(connection, hello.with(purpose: order.purpose))
    }

    // MARK: Relays

    /// Links with `node` through a third one.
    func dial(
        _ node: NodeID, through relay: NodeID, purpose: LinkHello.Purpose
    ) async throws(ShoalError) -> (FrameConnection, LinkHello) {
        guard let link = peers.directLink(to: relay) else {
            throw ShoalError(.linkLost, "node \(memberName(relay)) is not connected")
        }
        let token = LinkToken.random()
        let deadline = configuration.limits.relayDeadline
        _ = try await ask(link, .openRelay(RelayOrder(token: token, to: node)), deadline: deadline)
        let outer = try await openDirectLink(to: relay, purpose: .relay(token))
        return try await RelayedLink.dial(
            through: outer, relay: memberName(relay), security: security, hello: identity.hello(purpose: purpose),
            expected: node, deadline: deadline)
    }

    /// This node is to pass bytes on between a peer and another node.
    func openRelay(_ order: RelayOrder, from link: ControlLink) async throws(ShoalError) {
        guard let other = peers.directLink(to: order.to) else {
            throw ShoalError(
                .notFound, "node \(configuration.name) has no link of its own to node \(memberName(order.to))")
        }
        let deadline = configuration.limits.relayDeadline
        try relays.open(order.token, between: link.peer.nodeID, and: order.to, within: deadline)
        do throws(ShoalError) {
            _ = try await ask(
                other, .joinRelay(RelayOffer(token: order.token, from: link.peer.nodeID)), deadline: deadline)
        } catch {
            relays.cancel(order.token)
            throw error.during("node \(memberName(order.to))")
        }
    }

    /// The sender is to pass bytes on between this node and another one, which wants a link.
    func joinRelay(_ offer: RelayOffer, from link: ControlLink) async throws(ShoalError) {
        guard security.trust.isMember(offer.from), offer.from != id else {
            throw ShoalError(.notAMember, "node \(offer.from) is not a member")
        }
        let relay = link.peer.nodeID
        let outer = try await openDirectLink(to: relay, purpose: .relay(offer.token))
        RelayedLink.accept(
            through: outer, relay: memberName(relay), security: security,
            hello: { [identity] in identity.hello(purpose: .control) }, expected: offer.from,
            deadline: configuration.limits.relayDeadline,
            onLink: { [weak self] connection, hello in
                guard let self else { return connection.close(because: nil) }
                take(connection, hello)
            })
    }

    // MARK: Taking

    /// A connection with a hello, whoever dialled it. Any thread.
    nonisolated func take(_ connection: FrameConnection, _ hello: LinkHello) {
        switch hello.purpose {
        case .reversed(let token): reversals.arrived(connection, from: hello.nodeID, token: token)
        case .relay(let token): relays.join(connection, from: hello.nodeID, token: token)
        case .probe: connection.start(ProbeResponder())
        case .control, .data, .tunnel:
            // Refused when the node has ended.
            if !inbox.post(.linkAccepted(connection, hello)) { connection.close(because: nil) }
        }
    }
}
