package import ShoalCore

/// One wish of the user: "this model runs". It outlives the instances that fulfil it, one after the other.
package struct SlotID: Hashable, Sendable, Codable, Comparable, CustomStringConvertible {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Hexadecimal.
    package var description: String { String(rawValue, radix: 16) }

    /// Reads `description`.
    package init?(_ text: String) {
        guard let value = UInt64(text, radix: 16) else { return nil }
        rawValue = value
    }

    package static func < (left: SlotID, right: SlotID) -> Bool { left.rawValue < right.rawValue }
}

/// Orders changes to one slot: by term, then by number within the reign.
package struct DesiredVersion: Hashable, Sendable, Codable, Comparable {
    package let term: Term
    package let revision: UInt64

    package init(term: Term, revision: UInt64) {
        self.term = term
        self.revision = revision
    }

    package static func < (left: DesiredVersion, right: DesiredVersion) -> Bool {
        (left.term, left.revision) < (right.term, right.revision)
    }
}

extension SlotID {
    /// The slot of a model: the same on every node, so that two wishes for one model meet in one slot, wherever and
    /// however apart they were made.
    package init(model: String) { self.init(rawValue: mixed(stableHash(model))) }
}

/// What a user asked for: all that a leader needs to plan it, now and after the next leader.
package struct ModelWish: Hashable, Sendable, Codable {
    package var slot: SlotID
    /// The name clients ask for.
    package var model: String
    /// Where the node that was asked found the file; others look there first.
    package var path: String
    /// Digest and size of the file, by which other nodes know their copy.
    package var contentDigest: String
    package var contentByteCount: Int
    /// The constraints.
    package var request: LoadRequest

    /// `slot` follows from `model`.
    package init(model: String, path: String, contentDigest: String, contentByteCount: Int, request: LoadRequest) {
        slot = SlotID(model: model)
        self.model = model
        self.path = path
        self.contentDigest = contentDigest
        self.contentByteCount = contentByteCount
        self.request = request
    }
}

/// What the leader wants of one slot. Every member keeps a copy, so that the next leader knows.
package struct DesiredInstance: Hashable, Sendable, Codable {
    package var wish: ModelWish
    /// False once the user unloaded it: kept, so that old news does not bring it back.
    package var isWanted: Bool
    package var version: DesiredVersion

    package init(wish: ModelWish, isWanted: Bool, version: DesiredVersion) {
        self.wish = wish
        self.isWanted = isWanted
        self.version = version
    }

    package var slot: SlotID { wish.slot }
}

/// How far the leader is with a wanted slot.
package struct SlotStatus: Hashable, Sendable, Codable {
    package enum State: String, Hashable, Sendable, Codable {
        /// A plan is being made, or its head was told.
        case starting
        /// An instance holds the slot.
        case running
        /// No plan fits now; tried again when nodes come or change, and now and then.
        case waiting
        /// Given up until the user asks again.
        case failed
    }

    package var slot: SlotID
    package var state: State
    /// Why it waits, failed, or had to start again.
    package var reason: ShoalError?
    /// Instances that failed in a row.
    package var failureCount: Int
    package var instance: InstanceID?

    package init(slot: SlotID, state: State, reason: ShoalError?, failureCount: Int, instance: InstanceID?) {
        self.slot = slot
        self.state = state
        self.reason = reason
        self.failureCount = failureCount
        self.instance = instance
    }
}

/// What the leader tells everybody about the slots.
package struct DesiredNews: Hashable, Sendable, Codable {
    package var term: Term
    package var desired: [DesiredInstance]
    package var statuses: [SlotStatus]

    package init(term: Term, desired: [DesiredInstance], statuses: [SlotStatus]) {
        self.term = term
        self.desired = desired
        self.statuses = statuses
    }
}

/// An instance as its head reports it.
package struct ObservedInstance: Hashable, Sendable, Codable {
    package var id: InstanceID
    package var wish: ModelWish
    package var phase: InstancePhase
    /// Why it failed; nil unless it did.
    package var problem: ShoalError?
    /// The term of the leader that started it. Older instances win over younger ones.
    package var startedUnder: Term
    /// The term of the leader that owns it: the one that started it or last adopted it.
    package var ownedUnder: Term

    package init(id: InstanceID, wish: ModelWish, phase: InstancePhase, startedUnder: Term, ownedUnder: Term) {
        self.id = id
        self.wish = wish
        self.phase = phase
        self.startedUnder = startedUnder
        self.ownedUnder = ownedUnder
    }

    package var slot: SlotID { wish.slot }

    /// Whether it holds its slot: on the way to serve, or serving.
    package var ownsSlot: Bool {
        switch phase {
        case .placing, .starting, .verifying, .launching, .handshaking, .loading, .warming, .ready, .recovering: true
        case .waiting, .draining, .failed, .stopped: false
        }
    }
}

/// Everything one node runs, sent to the leader it follows about every second and at each change.
package struct HeadReport: Hashable, Sendable, Codable {
    package var node: NodeID
    /// The term that the node follows. A leader uses only reports under its own: then the head obeys no other.
    package var term: Term
    /// Grows within a life of the node, so that a report that was overtaken is dropped.
    package var number: UInt64
    package var life: UInt64
    package var instances: [ObservedInstance]
    /// The node's copy of the desired state.
    package var desired: [DesiredInstance]

    package init(
        node: NodeID, term: Term, number: UInt64, life: UInt64, instances: [ObservedInstance],
        desired: [DesiredInstance]
    ) {
        self.node = node
        self.term = term
        self.number = number
        self.life = life
        self.instances = instances
        self.desired = desired
    }
}

/// One command of the leader to a head. Safe to repeat: each names its instance.
package struct InstanceCommand: Hashable, Sendable, Codable {
    package enum Verb: Hashable, Sendable, Codable {
        /// Bring it up, unless it is known.
        case start
        /// It goes on as it is; only `ownedUnder` changes. Nothing is reloaded.
        case adopt
        /// Finish what runs, admit nothing, then stop.
        case drain
        /// Forget an instance that failed.
        case remove
    }

    package var verb: Verb
    package var term: Term
    package var head: NodeID
    package var instance: InstanceID
    package var wish: ModelWish

    package init(verb: Verb, term: Term, head: NodeID, instance: InstanceID, wish: ModelWish) {
        self.verb = verb
        self.term = term
        self.head = head
        self.instance = instance
        self.wish = wish
    }

    package var slot: SlotID { wish.slot }
}

/// A slot for which the leader needs a plan. Answered by `planned` or `planFailed`; a later one voids earlier ones.
package struct PlanTicket: Hashable, Sendable {
    package let number: UInt64
    package let wish: ModelWish
}

/// What the leader does next, in this order.
package enum DesiredAction: Hashable, Sendable {
    case command(InstanceCommand)
    case plan(PlanTicket)
}
