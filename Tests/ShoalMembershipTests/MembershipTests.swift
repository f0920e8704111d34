import ShoalCore
import ShoalMembership
import Testing

@Suite("Member table")
struct MembershipTests {
    private func rumor(_ node: Int, _ incarnation: UInt64, _ state: MemberState, life: UInt64 = 1) -> Rumor {
        Rumor(node: nodeID(node), life: life, incarnation: incarnation, state: state)
    }

    private func gossip(from sender: Int, _ rumors: [Rumor], incarnation: UInt64 = 1) -> MembershipMessage {
        MembershipMessage(kind: .gossip, source: rumor(sender, incarnation, .alive), rumors: rumors, digest: 0)
    }

    private func table(configuration: MembershipConfiguration = MembershipConfiguration()) -> Membership {
        Membership(node: nodeID(0), life: 1, configuration: configuration, now: .zero)
    }

    @Test("news is ordered alive(i), suspect(i), dead(i), alive(i + 1)")
    func order() {
        let ordered = [rumor(1, 1, .alive), rumor(1, 1, .suspect), rumor(1, 1, .dead), rumor(1, 2, .alive)]
        for (index, newer) in ordered.enumerated() {
            for (other, older) in ordered.enumerated() { #expect(newer.isNewer(than: older) == (index > other)) }
        }
    }

    @Test("an accused node objects with a higher incarnation")
    func refutation() {
        var membership = table()
        _ = membership.receive(gossip(from: 1, [rumor(0, 4, .suspect)]), from: nodeID(1), now: .zero)
        #expect(membership.source.incarnation == 5)
        _ = membership.receive(gossip(from: 1, [rumor(0, 3, .dead)]), from: nodeID(1), now: .zero)
        #expect(membership.source.incarnation == 5)
    }

    @Test("an incarnation out of range, a false sender and an oversized message change nothing")
    func foreignValues() {
        var membership = table()
        let before = membership.digest
        _ = membership.receive(gossip(from: 2, []), from: nodeID(1), now: .zero)
        _ = membership.receive(gossip(from: 1, [], incarnation: .max), from: nodeID(1), now: .zero)
        let flood = (1...600).map { rumor($0, 1, .alive) }
        _ = membership.receive(gossip(from: 1, flood), from: nodeID(1), now: .zero)
        #expect(membership.members.isEmpty && membership.digest == before)
    }

    @Test("a returning node keeps one row, and its tombstone expires if it does not")
    func tombstones() {
        var configuration = MembershipConfiguration()
        configuration.tombstoneLifetime = .seconds(20)
        var membership = table(configuration: configuration)
        _ = membership.receive(gossip(from: 1, []), from: nodeID(1), now: .zero)
        _ = membership.receive(gossip(from: 1, [rumor(1, 1, .dead)]), from: nodeID(1), now: .zero)
        #expect(membership.members.map(\.state) == [.dead])
        _ = membership.receive(gossip(from: 1, []), from: nodeID(1), now: .seconds(1))
        #expect(membership.members.map(\.state) == [.dead], "old news brings nobody back")
        _ = membership.receive(gossip(from: 1, [], incarnation: 2), from: nodeID(1), now: .seconds(2))
        #expect(membership.members.map(\.state) == [.alive])
        _ = membership.receive(
            gossip(from: 1, [rumor(1, 2, .dead)], incarnation: 2), from: nodeID(1), now: .seconds(3))
        _ = membership.tick(now: .seconds(22))
        #expect(membership.members.count == 1)
        _ = membership.tick(now: .seconds(23))
        #expect(membership.members.isEmpty)
    }

    @Test("a full table drops a tombstone for a newcomer, and never an alive member")
    func fullTable() {
        var configuration = MembershipConfiguration()
        configuration.memberCountMax = 3
        var membership = table(configuration: configuration)
        for node in 1...4 { _ = membership.receive(gossip(from: node, []), from: nodeID(node), now: .zero) }
        #expect(membership.members.map(\.node) == [nodeID(1), nodeID(2), nodeID(3)])
        _ = membership.receive(gossip(from: 2, [rumor(2, 1, .dead)]), from: nodeID(2), now: .zero)
        _ = membership.receive(gossip(from: 4, []), from: nodeID(4), now: .zero)
        #expect(membership.members.map(\.node) == [nodeID(1), nodeID(3), nodeID(4)])
    }

    @Test("a node that leaves is dead at once")
    func farewell() {
        var leaver = Membership(node: nodeID(1), life: 1, now: .zero)
        var membership = table()
        _ = leaver.receive(gossip(from: 0, []), from: nodeID(0), now: .zero)
        _ = membership.receive(gossip(from: 1, []), from: nodeID(1), now: .zero)
        for case .send(let message, let peer) in leaver.leave() where peer == nodeID(0) {
            _ = membership.receive(message, from: nodeID(1), now: .seconds(1))
        }
        #expect(membership.state(of: nodeID(1)) == .dead)
    }

    @Test("a restart is told apart from an objection")
    func restart() {
        var membership = table()
        _ = membership.receive(gossip(from: 1, []), from: nodeID(1), now: .zero)
        let reborn = MembershipMessage(
            kind: .gossip, source: rumor(1, 2, .alive, life: 9), rumors: [], digest: 0)
        let actions = membership.receive(reborn, from: nodeID(1), now: .zero)
        #expect(actions.contains(.changed(.restarted(nodeID(1)))))
        #expect(membership.members.count == 1)
    }

    @Test("messages carry no more news than the bound")
    func boundedMessages() {
        var membership = table()
        _ = membership.receive(gossip(from: 1, (2...400).map { rumor($0, 1, .alive) }), from: nodeID(1), now: .zero)
        for tick in 1..<20 {
            for case .send(let message, _) in membership.tick(now: .milliseconds(100 * tick)) {
                #expect(message.rumors.count <= membership.configuration.rumorsPerMessageMax)
            }
        }
    }
}
