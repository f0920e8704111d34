/// What happened when a node tried to reach another at one address.
package enum ReachState: String, Sendable, Codable, CaseIterable {
    /// The node that was meant answered.
    case open
    /// The machine answered that nothing listens at that port.
    case refused
    /// No answer at all: a firewall, a machine that is off, or an address that nobody has.
    case timedOut
    /// This machine has no way to that network, or the network said so.
    case unreachable
    /// Somebody answered who is not the node that was meant.
    case stranger
}

/// One measured direction between two nodes at one address. A row of what `shoal links` prints.
package struct LinkReport: Hashable, Sendable, Codable {
    package var from: NodeID
    package var fromName: String
    package var to: NodeID
    package var toName: String
    /// HOST:PORT that was dialled.
    package var address: String
    package var state: ReachState
    /// Median of the pings.
    package var roundTripMilliseconds: Double?
    /// Median distance of the pings from their median.
    package var jitterMilliseconds: Double?
    package var bytesPerSecond: Double?
    /// Whether 10 MB passed without a stall; nil until tried.
    package var bulkPassed: Bool?
    package var longestStallMilliseconds: Double?
    /// By the clock of the node that measured.
    package var checkedUnixSeconds: Int
    /// What the system said, in one sentence.
    package var detail: String?

    package init(
        from: NodeID, fromName: String, to: NodeID, toName: String, address: String, state: ReachState,
        checkedUnixSeconds: Int
    ) {
        self.from = from
        self.fromName = fromName
        self.to = to
        self.toName = toName
        self.address = address
        self.state = state
        self.checkedUnixSeconds = checkedUnixSeconds
    }
}

/// How a connection between two nodes would be made.
package struct PairReport: Hashable, Sendable, Codable {
    /// Raw values are part of the API.
    package enum Way: String, Sendable, Codable, CaseIterable {
        /// The first node dials.
        case direct
        /// The second node is asked to dial.
        case reversed
        /// A third node passes bytes on.
        case relayed
        /// There is none.
        case blocked
    }

    package var first: NodeID
    package var firstName: String
    package var second: NodeID
    package var secondName: String
    package var way: Way
    /// HOST:PORT that is dialled; nil when relayed or blocked.
    package var address: String?
    package var relayName: String?
    package var reasons: [String]

    package init(
        first: NodeID, firstName: String, second: NodeID, secondName: String, way: Way, reasons: [String]
    ) {
        self.first = first
        self.firstName = firstName
        self.second = second
        self.secondName = secondName
        self.way = way
        self.reasons = reasons
    }
}

/// Who reaches whom. What `GET /shoal/v1/links` answers.
package struct ReachReport: Hashable, Sendable, Codable {
    package var links: [LinkReport]
    package var pairs: [PairReport]

    package init(links: [LinkReport] = [], pairs: [PairReport] = []) {
        self.links = links
        self.pairs = pairs
    }
}

/// One line of `shoal doctor`.
package struct DoctorCheck: Hashable, Sendable, Codable {
    /// Only a failure makes `shoal doctor` fail.
    package enum Outcome: String, Sendable, Codable, CaseIterable {
        case pass, warning, failure
    }

    package var outcome: Outcome
    /// What was found: who, where, which value.
    package var finding: String
    /// What to do about it; nil when nothing is to be done.
    package var advice: String?

    package init(_ outcome: Outcome, _ finding: String, advice: String? = nil) {
        self.outcome = outcome
        self.finding = finding
        self.advice = advice
    }
}

/// Everything that was checked. What `GET /shoal/v1/doctor` answers.
package struct DoctorReport: Hashable, Sendable, Codable {
    package var checks: [DoctorCheck]
    /// One per node that can be reached.
    package var environments: [NodeEnvironment] = []

    package init(checks: [DoctorCheck]) { self.checks = checks }

    package var hasFailure: Bool { checks.contains { $0.outcome == .failure } }
}
