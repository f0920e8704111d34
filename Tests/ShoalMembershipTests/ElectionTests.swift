import ShoalCore
import ShoalMembership
import Testing

@Suite("Terms and commands")
struct ElectionTests {
    private let own = nodeID(2)
    private func term(_ counter: UInt64, _ leader: Int, life: UInt64 = 1) -> Term {
        Term(counter: counter, leader: nodeID(leader), life: life)
    }
    private func election(following term: Term) throws -> Election {
        var election = Election(node: own, life: 7, now: .zero)
        try election.admit(term, from: term.leader)
        return election
    }

    @Test("terms are ordered by counter, then leader, then life")
    func order() {
        let sorted = [term(1, 1), term(1, 1, life: 2), term(1, 3), term(2, 0)]
        #expect(sorted.reversed().sorted() == sorted)
    }

    @Test("a command under an older term is refused and changes nothing")
    func staleTerm() throws {
        var election = try election(following: term(5, 3))
        for stale in [term(4, 9), term(5, 1), term(5, 3, life: 0)] {
            #expect(refusal { try election.admit(stale, from: stale.leader) } == .staleTerm)
        }
        #expect(election.term == term(5, 3))
    }

    @Test("a command under somebody else's term is a violation")
    func borrowedTerm() throws {
        var election = try election(following: term(5, 3))
        #expect(refusal { try election.admit(term(6, 3), from: nodeID(4)) } == .protocolViolation)
        #expect(election.term == term(5, 3))
    }

    @Test("a counter that leaves no room to claim is refused, as a command and as news")
    func hugeCounter() throws {
        var election = try election(following: term(5, 3))
        let huge = term(.max, 3)
        #expect(throws: ShoalError.self) { try election.admit(huge, from: nodeID(3)) }
        let membership = Membership(node: own, life: 7, now: .zero)
        let events = election.observe(
            TermAnnouncement(term: huge, support: 9), from: nodeID(3), membership: membership, now: .zero)
        #expect(events.isEmpty && election.term == term(5, 3))
    }

    @Test("a command under a newer term ends the own reign")
    func newerTerm() throws {
        var election = Election(node: own, life: 7, now: .zero)
        let membership = Membership(node: own, life: 7, now: .zero)
        for tick in 0..<30 { _ = election.tick(membership: membership, now: .milliseconds(100 * tick)) }
        #expect(election.isLeading)
        try election.admit(term(2, 1), from: nodeID(1))
        #expect(!election.isLeading && election.term == term(2, 1))
    }
}
