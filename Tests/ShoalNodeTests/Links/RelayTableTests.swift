import ShoalCore
import ShoalLinks
import Testing

@testable import ShoalNode

@Suite("Connections that a node passes on")
struct RelayTableTests {
    private let one = NodeID.random()
    private let other = NodeID.random()
    private let token = LinkToken.random()

    private func table() throws -> RelayTable<String> {
        var table = RelayTable<String>()
        try table.open(token, between: one, and: other, until: .seconds(5))
        return table
    }

    @Test("the second of the two completes it, in either order")
    func complete() throws {
        for (first, second) in [(one, other), (other, one)] {
            var table = try table()
            guard case .waits = try table.join(token, from: first, end: "first", now: .zero) else {
                Issue.record("one half is not a whole")
                return
            }
            guard case .complete(let end) = try table.join(token, from: second, end: "second", now: .zero) else {
                Issue.record("both are here")
                return
            }
            #expect(end == "first")
            #expect(table.remove(token) == ["first", "second"])
            #expect(table.remove(token).isEmpty)
            #expect(table.count == 0)
        }
    }

    @Test("a stranger, the same node twice, another token and a third half are refused")
    func refused() throws {
        var table = try table()
        #expect(throws: ShoalError.self) { try table.join(token, from: .random(), end: "", now: .zero) }
        #expect(throws: ShoalError.self) { try table.join(.random(), from: one, end: "", now: .zero) }
        _ = try table.join(token, from: one, end: "", now: .zero)
        #expect(throws: ShoalError.self) { try table.join(token, from: one, end: "", now: .zero) }
        _ = try table.join(token, from: other, end: "", now: .zero)
        #expect(throws: ShoalError.self) { try table.join(token, from: other, end: "", now: .zero) }
        #expect(throws: ShoalError.self) { try table.open(token, between: one, and: other, until: .zero) }
        #expect(throws: ShoalError.self) { try table.open(.random(), between: one, and: one, until: .zero) }
    }

    @Test("what is not complete in time is given up, and its half returned; what is complete stays")
    func expiry() throws {
        var table = try table()
        let second = LinkToken.random()
        try table.open(second, between: one, and: other, until: .seconds(5))
        for node in [one, other] { _ = try table.join(second, from: node, end: "joined", now: .zero) }
        _ = try table.join(token, from: one, end: "waits", now: .zero)
        #expect(table.expire(now: .seconds(6)) == ["waits"])
        #expect(table.count == 1)
        #expect(table.removeAll() == ["joined", "joined"])
        #expect(throws: ShoalError.self) { try table.join(token, from: other, end: "", now: .seconds(6)) }
    }

    @Test("relays are bounded, for one node and all together")
    func bounds() throws {
        var table = RelayTable<String>()
        for _ in 0..<RelayTable<String>.countPerNodeMax {
            try table.open(.random(), between: one, and: .random(), until: .zero)
        }
        let error = #expect(throws: ShoalError.self) {
            try table.open(.random(), between: .random(), and: one, until: .zero)
        }
        #expect(error?.code == .overloaded)
        while table.count < RelayTable<String>.countMax {
            try table.open(.random(), between: .random(), and: .random(), until: .zero)
        }
        #expect(throws: ShoalError.self) {
            try table.open(.random(), between: .random(), and: .random(), until: .zero)
        }
    }
}
