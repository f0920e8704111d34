import Logging
import ShoalCore
import ShoalLinks
import ShoalMembership
import ShoalStore
import ShoalTrust

/// The node's side of the cluster: asking the leader, planning for it, and what changes among the members.
extension Node {
    static func makeKeeper(
        _ configuration: NodeConfiguration, _ trust: ClusterTrust, _ logger: Logger
    ) -> ClusterKeeper {
        let (life, notice) = NodeLife.begin(in: configuration.dataDirectory)
        if let notice { logger.warning("\(notice)") }
        return ClusterKeeper(
            id: trust.nodeID, life: life, configuration: configuration, logger: logger,
            isMember: { trust.isMember($0) },
            nodeName: { node in trust.members.first { $0.nodeID == node }?.name ?? node.rawValue })
    }

    /// Whether this node is a cluster of its own as far as it knows: nobody has to be asked who leads.
    nonisolated var expectsNobody: Bool {
        security.trust.members.count == 1 && configuration.peerAddresses.isEmpty && !security.trust.sharesKey
    }

    /// Asks whoever leads, and the next one when that is lost meanwhile. What is asked can be asked again.
    func askLeader(_ request: ControlRequest) async throws(ShoalError) -> ControlReply {
        var problem = ShoalError(.unavailable, "no node leads the cluster")
        for _ in 0..<configuration.limits.leaderAttemptCountMax {
            let leader = try await keeper.leader()
            do throws(ShoalError) {
                return try await ask(leader, request, deadline: configuration.limits.wishDeadline)
            } catch {
                guard error.code == .linkLost || error.code == .staleTerm else { throw error }
                problem = error
                await keeper.change()
            }
        }
        throw problem
    }

    /// A plan for a wish, made from this node's copy of the file. Throws `fileUnreadable` if it has none. `asker` is
    /// the node whose user wished.
    func order(for wish: ModelWish, askedBy asker: NodeID? = nil) async throws(ShoalError) -> InstanceOrder {
        let wanted = ModelReference(
            name: wish.model, path: wish.path,
            fingerprint: ModelFingerprint(
                digest: wish.contentDigest, byteCount: ByteCount(wish.contentByteCount)))
        var model = try await models.open(try await models.path(of: wanted, nodeName: configuration.name))
        model.reference.name = wish.model
        let draft: OpenedModel?
        do throws(ShoalError) {
            draft = try await openDraft(wish.request, model)
        } catch {
            // The node that was asked has it; where this one has not, the model is served all the same.
            guard error.code == .fileUnreadable || error.code == .modelNotFound else { throw error }
            logger.warning("planning without the draft model", metadata: ["error": "\(error)"])
            draft = nil
        }
        return try planned(wish.request, model, draft, askedBy: asker).order
    }

    /// Connected nodes that answer.
    var presentPeers: [PeerTable.Peer] {
        peers.connected.values.filter { !absentNodes.contains($0.hello.nodeID) }
    }

    func memberChanged(_ event: ShoalMembership.MembershipEvent) async {
        let node = event.node
        let name = peers.connected[node]?.hello.nodeName ?? node.rawValue
        switch event {
        case .suspected:
            absentNodes.insert(node)
            let error = ShoalError(.linkLost, "node \(name) does not answer")
            for head in heads.all { await head.nodeSuspected(node, error) }
        case .died:
            absentNodes.insert(node)
            let error = ShoalError(.linkLost, "node \(name) is lost")
            for head in heads.all { await head.nodeLost(node, error) }
        case .joined, .recovered, .restarted:
            absentNodes.remove(node)
            guard peers.link(to: node) != nil else { return }
            for head in heads.all { await head.nodeReturned(node) }
        }
    }
}

extension ModelWish {
    init(_ model: ModelReference, _ request: LoadRequest) {
        self.init(
            model: model.name, path: model.path, contentDigest: model.fingerprint.digest,
            contentByteCount: model.fingerprint.byteCount.rawValue, request: request)
    }
}
