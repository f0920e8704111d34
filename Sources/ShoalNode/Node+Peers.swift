import Logging
import NIOCore
import ShoalCore
import ShoalDiscovery
import ShoalEngine
import ShoalLinks
import ShoalReach
import ShoalTrust
import ShoalWire

extension Node {
    /// Starts to keep a link to `address`, unless it is dialled already.
    func connect(to address: String) {
        guard peers.addTarget(address) else { return }
        dialRequestsContinuation.yield(.keep(address))
    }

    /// Dials until the task is cancelled or nobody wants the address any more, with growing pauses; ends early if it is
    /// this node's own.
    func keepConnected(to address: String) async {
        var delay = configuration.limits.redialDelay
        while !Task.isCancelled, peers.targets[address] != nil {
            do throws(ShoalError) {
                let target = try LinkAddress(parsing: address)
                let (connection, hello) = try await LinkDialer.dial(
                    target, eventLoop: dataLoop, security: security,
                    hello: identity.hello(purpose: .control), deadline: configuration.limits.dialDeadline)
                guard hello.nodeID != id else {
                    connection.close(because: nil)
                    peers.removeTarget(address)
                    return
                }
                reached(hello.nodeID, at: target)
                let closing = try attach(connection, hello)
                peers.targetConnected(address, to: hello.nodeID)
                delay = configuration.limits.redialDelay
                let reason = await closing.wait()
                peers.targetFailed(address, problem: reason?.message ?? "the link was closed")
            } catch {
                peers.targetFailed(address, problem: error.message)
            }
            // Cancellation ends the wait, and the loop with it.
            try? await Task.sleep(for: delay)
            delay = min(delay * 2, configuration.limits.redialDelayMax)
        }
    }

    /// A link that the other side dialled.
    func accept(_ connection: FrameConnection, _ hello: LinkHello) async {
        switch hello.purpose {
        case .control:
            // `attach` has told the peer why.
            _ = try? attach(connection, hello)
        case .data(let instance, let generation, boundary: _):
            guard let stage = stages[instance] else {
                connection.close(
                    because: ShoalError(.notFound, "node \(configuration.name) holds no stage of \(instance)"))
                return
            }
            await stage.accept(connection, generation: generation)
        case .tunnel(let instance, let target): acceptTunnel(connection, instance, target)
        // They never come here: see `take`.
        case .probe, .reversed, .relay: connection.close(because: nil)
        }
    }

    /// Throws, and closes the connection, when there is no room for it.
    func attach(_ connection: FrameConnection, _ hello: LinkHello) throws(ShoalError) -> LinkClosing {
        guard peers.hasRoom(for: hello.nodeID) else {
            let error = ShoalError(.overloaded, "node \(configuration.name) has as many links as it takes")
            connection.close(because: error)
            throw error
        }
        let hello = hello.withLinkHost(insteadOfAny: connection.peerHost)
        let handler = NodeControlHandler(node: self)
        let link = ControlLink(connection: connection, peer: hello, handler: handler)
        // While a link goes through a third node, a direct one is looked for.
        if !link.isRelayed { beacons?.linkOpened(to: hello.nodeID) }
        if peers.add(link, hello: hello) {
            let through = connection.relay.map { " through node \($0)" } ?? ""
            logger.info(
                "node connected\(through)",
                metadata: ["node.id": "\(hello.nodeID)", "node.name": "\(hello.nodeName)"])
        }
        link.start()
        keeper.inbox.post(.linked(link))
        send(.node(announcement()), over: link)
        send(.members(security.trust.records), over: link)
        send(.instances(Array(ownReports.values)), over: link)
        introduceLinks(over: link)
        return handler.closing
    }

    func linkClosed(_ link: ControlLink, because error: ShoalError?) async {
        let node = link.peer.nodeID
        let lost = ShoalError(
            .linkLost,
            "the link to node \(link.peer.nodeName) was lost: \(error?.message ?? "it closed the connection")")
        // Answers come over the link of their request, also when the node has another one.
        streams.lose(allOver: link, because: lost)
        let wasLast = peers.remove(link, of: node)
        if !link.isRelayed, peers.directLink(to: node) == nil { beacons?.linkClosed(to: node) }
        guard wasLast else { return }
        reach.linkClosed(to: node)
        logger.info("node disconnected", metadata: ["node.id": "\(node)", "reason": "\(error?.message ?? "closed")"])
        announced[node] = nil
        for head in heads.all { await head.nodeLost(node, lost) }
        scheduleOrphanCheck(for: node)
    }

    /// Stages whose head does not come back are freed, so that a dead head does not hold other nodes' memory.
    private func scheduleOrphanCheck(for head: NodeID) {
        let instances = Set(stageHeads.filter { $0.value == head }.keys)
        guard !instances.isEmpty else { return }
        let grace = configuration.limits.orphanedStageGrace
        dataLoop.scheduleTask(in: TimeAmount(grace)) { [inbox] in
            inbox.post(.orphanCheck(head, among: instances))
        }
    }

    /// `instances` had stages here when the link to `head` was lost. A head that is back and knows them no longer, or
    /// has given them up, was restarted, or could not say so when it stopped them.
    func freeOrphans(of head: NodeID, among instances: Set<InstanceID>) async {
        let isBack = peers.link(to: head) != nil
        let alive = Set((announced[head] ?? []).filter(\.phase.isAlive).map(\.id))
        for instance in instances where stageHeads[instance] == head {
            if isBack, alive.contains(instance) { continue }
            unloadStageInBackground(instance)
        }
    }

    func announceRegularly() async {
        // Cancellation ends the wait, and the loop with it.
        while (try? await Task.sleep(for: configuration.limits.announcementInterval)) != nil {
            broadcast(.node(announcement()))
            broadcast(.instances(Array(ownReports.values)))
            await tendHeads()
            await tendLinks()
            configuration.onChange()
        }
    }

    /// Apart from the announcements, which must not wait for an engine that does not answer.
    func refreshRegularly() async {
        // Cancellation ends the wait, and the loop with it.
        while (try? await Task.sleep(for: configuration.limits.announcementInterval)) != nil {
            await withDiscardingTaskGroup { group in
                for head in heads.all { group.addTask { await head.refresh() } }
            }
            await closeUnusedForwarders()
        }
    }

    func broadcast(_ event: ControlEvent) {
        guard let body = encoded(event) else { return }
        for peer in peers.connected.values { peer.links.first?.sendEvent(body) }
    }

    nonisolated func send(_ event: ControlEvent, over link: ControlLink) {
        guard let body = encoded(event) else { return }
        link.sendEvent(body)
    }

    /// Nil, and logged, when one of our own messages cannot be encoded, which the size limits make possible.
    private nonisolated func encoded(_ event: ControlEvent) -> ByteBuffer? {
        do {
            return try FrameJSON.encode(event)
        } catch {
            logger.error("a control event could not be encoded", metadata: ["error": "\(error)"])
            return nil
        }
    }

    /// Asks another node, or this one. Throws what the node says, or `linkLost`.
    func ask(_ node: NodeID, _ request: ControlRequest, deadline: Duration) async throws(ShoalError) -> ControlReply {
        if node == id { return try await answer(request, from: nil) }
        guard let link = peers.link(to: node) else {
            throw ShoalError(
                .linkLost, "node \(keeper.nodeName(node)) is not connected to node \(configuration.name)")
        }
        return try await ask(link, request, deadline: deadline)
    }

    /// Asks over one certain link.
    func ask(_ link: ControlLink, _ request: ControlRequest, deadline: Duration) async throws(ShoalError)
        -> ControlReply
    {
        let body = try await link.request(FrameJSON.encode(request), deadline: deadline)
        return try FrameJSON.decode(ControlReply.self, from: body)
    }

    /// Opens a data connection to the node that holds stage `boundary` of an instance.
    func dialStage(
        on node: NodeID, instance: InstanceID, generation: UInt32, boundary: Int
    ) async throws(ShoalError) -> FrameConnection {
        try await openDataLink(
            to: node, purpose: .data(instance: instance, generation: generation, boundary: boundary))
    }
}
