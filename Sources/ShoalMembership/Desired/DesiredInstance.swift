package import ShoalCore

/// One wish of the user: "this model runs". It outlives the instances that fulfil it, one after the other.
package struct SlotID: Hashable, Sendable, Codable, Comparable, CustomStringConvertible {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package var description: String { String(rawValue, radix: 16) }

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

/// What the leader wants of one slot. Every member keeps a copy, so that the next leader knows.
package struct DesiredInstance: Hashable, Sendable, Codable {
    package var slot: SlotID
    /// The name clients ask for. What else a plan needs is looked up by slot.
    package var model: String
    /// False once the user unloaded it: kept, so that old news does not bring it back.
    package var isWanted: Bool
    package var version: DesiredVersion

    package init(slot: SlotID, model: String, isWanted: Bool, version: DesiredVersion) {
        self.slot = slot
        self.model = model
        self.isWanted = isWanted
        self.version = version
    }
}

/// An instance as its head reports it.
package struct ObservedInstance: Hashable, Sendable, Codable {
    package var id: InstanceID
    package var slot: SlotID
    package var model: String
    package var phase: InstancePhase
    /// The term of the leader that started it. Older instances win over younger ones.
    package var startedUnder: Term
    /// The term of the leader that owns it: the one that started it or last adopted it.
    package var ownedUnder: Term

    package init(
        id: InstanceID, slot: SlotID, model: String, phase: InstancePhase, startedUnder: Term, ownedUnder: Term
    ) {
        self.id = id
        self.slot = slot
        self.model = model
        self.phase = phase
        self.startedUnder = startedUnder
        self.ownedUnder = ownedUnder
    }

    /// Whether it holds its slot: on the way to serve, or serving.
    package var ownsSlot: Bool {
        switch phase {
        case .placing, .starting, .loading, .warming, .ready, .recovering: true
        case .draining, .failed, .stopped: false
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
    }

    package var verb: Verb
    package var term: Term
    package var head: NodeID
    package var instance: InstanceID
    package var slot: SlotID
    package var model: String

    package init(verb: Verb, term: Term, head: NodeID, instance: InstanceID, slot: SlotID, model: String) {
        self.verb = verb
        self.term = term
        self.head = head
        self.instance = instance
        self.slot = slot
        self.model = model
    }
}
