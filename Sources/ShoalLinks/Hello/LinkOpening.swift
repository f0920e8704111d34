internal import ShoalCore
internal import ShoalTrust

/// What happens on a connection between TLS and its use, as a value: admission if it is needed, then the hellos.
///
/// A listener says nothing to a node that is neither a member nor proves that it may become one.
struct LinkOpening {
    enum Goal {
        case dial
        /// Become a member by an invite; there are no hellos.
        case join
        case listen
    }

    /// How it ended well.
    enum Opened {
        case link(LinkHello)
        case joined
    }

    enum Action {
        case sendHello(answering: LinkHello?)
        case send(AdmissionMessage)
        /// Ask the cluster's trust, then call `judged`.
        case judge(AdmissionRequest)
        /// Give the cluster's trust what was granted, then call `accepted`.
        case accept(AdmissionGrant, PendingAdmission)
        /// The peer may hear from now on why the connection closes.
        case trustPeer
        case finish(Opened)
        case fail(ShoalError)
    }

    private enum Step {
        case handshake
        case request
        case verdict
        case grant(PendingAdmission)
        case acceptance
        case hello
        case ended
    }

    let goal: Goal
    private(set) var peer: NodeID?
    /// Whether this listener let the peer in. Who came with an invite leaves with that, and without a hello.
    private(set) var hasGranted = false
    private var step = Step.handshake

    init(_ goal: Goal) { self.goal = goal }

    /// TLS is done. `pending` is what this node must prove first.
    mutating func secured(peer: NodeID, isMember: Bool, pending: PendingAdmission?) -> [Action] {
        guard case .handshake = step else { return [] }
        self.peer = peer
        if goal == .listen {
            step = isMember ? .hello : .request
            return isMember ? [.trustPeer] : []
        }
        if let pending {
            step = .grant(pending)
            return [.send(.request(pending.request))]
        }
        guard isMember else {
            return fail(ShoalError(.notAMember, "node \(peer) is not a member of this cluster any more"))
        }
        step = .hello
        return [.trustPeer, .sendHello(answering: nil)]
    }

    mutating func received(_ message: AdmissionMessage) -> [Action] {
        switch (message, step) {
        case (.request(let request), .request),
            (.request(let request), .hello) where goal == .listen:
            step = .verdict
            return [.judge(request)]
        case (.grant(let grant), .grant(let pending)):
            step = .acceptance
            return [.accept(grant, pending)]
        case (_, .ended):
            return []
        default:
            return fail(ShoalError(.protocolViolation, "an admission frame came where none belongs"))
        }
    }

    mutating func judged(_ verdict: AdmissionVerdict) -> [Action] {
        guard case .verdict = step else { return [] }
        switch verdict {
        case .grant(let grant):
            step = .hello
            hasGranted = true
            return [.trustPeer, .send(.grant(grant))]
        case .refuse(let error):
            step = .ended
            return [.trustPeer, .fail(error)]
        case .ignore(let error):
            return fail(error)
        }
    }

    mutating func accepted(_ error: ShoalError?) -> [Action] {
        guard case .acceptance = step else { return [] }
        if let error { return fail(error) }
        guard goal == .join else {
            step = .hello
            return [.trustPeer, .sendHello(answering: nil)]
        }
        step = .ended
        return [.trustPeer, .finish(.joined)]
    }

    mutating func received(_ hello: LinkHello) -> [Action] {
        guard case .hello = step, let peer else {
            guard case .request = step, let peer else { return unexpected("a second hello") }
            return fail(ShoalError(.notAMember, "node \(peer) is not a member and did not ask to become one"))
        }
        do throws(ShoalError) {
            try hello.validate()
        } catch {
            return fail(error)
        }
        guard hello.nodeID == peer else {
            return fail(
                ShoalError(.notAMember, "the node with the key of \(peer) says that it is node \(hello.nodeID)"))
        }
        step = .ended
        return (goal == .listen ? [.sendHello(answering: hello)] : []) + [.finish(.link(hello))]
    }

    /// What it means that the peer ends the connection now without a word; nil for nothing in particular.
    var meaningOfSilence: ShoalError? {
        guard case .grant = step, let peer else { return nil }
        return ShoalError(
            .notAMember,
            goal == .join
                ? "node \(peer) does not know this invite; ask for a new one: shoal invite"
                : "node \(peer) belongs to another cluster: its cluster key is not this node's (--cluster-key)")
    }

    /// Something else than admission or hello came, or what came is damaged, or nothing came in time.
    mutating func failed(_ error: ShoalError) -> [Action] {
        if case .ended = step { return [] }
        return fail(error)
    }

    mutating func unexpected(_ what: String) -> [Action] {
        failed(ShoalError(.protocolViolation, "\(what) frame came before the hello"))
    }

    private mutating func fail(_ error: ShoalError) -> [Action] {
        step = .ended
        return [.fail(error)]
    }
}
