import ShoalCore
import ShoalLinks
import Testing

@testable import ShoalNode

@Suite("Connections that others were asked to dial")
struct AwaitedLinksTests {
    private let node = NodeID.random()

    @Test("a token works once, for its node, in time")
    func once() throws {
        var links = AwaitedLinks<String>()
        let token = LinkToken.random()
        try links.expect(token, from: node, until: .seconds(4), waiter: "stage")
        #expect(throws: ShoalError.self) { try links.take(token, presentedBy: .random(), now: .seconds(1)) }
        #expect(throws: ShoalError.self) { try links.take(.random(), presentedBy: node, now: .seconds(1)) }
        #expect(try links.take(token, presentedBy: node, now: .seconds(4)) == "stage")
        let again = #expect(throws: ShoalError.self) { try links.take(token, presentedBy: node, now: .seconds(4)) }
        #expect(again?.code == .notFound)
    }

    @Test("a late connection finds nobody, and who waits is told")
    func late() throws {
        var links = AwaitedLinks<String>()
        let token = LinkToken.random()
        try links.expect(token, from: node, until: .seconds(4), waiter: "stage")
        #expect(throws: ShoalError.self) { try links.take(token, presentedBy: node, now: .milliseconds(4001)) }
        #expect(links.expire(now: .seconds(4)).isEmpty)
        #expect(links.expire(now: .milliseconds(4001)) == ["stage"])
        #expect(links.count == 0)
    }

    @Test("one node, and all together, may be awaited a bounded number of times")
    func bounds() throws {
        var links = AwaitedLinks<Int>()
        for number in 0..<AwaitedLinks<Int>.countPerNodeMax {
            try links.expect(.random(), from: node, until: .seconds(4), waiter: number)
        }
        let error = #expect(throws: ShoalError.self) {
            try links.expect(.random(), from: node, until: .seconds(4), waiter: 0)
        }
        #expect(error?.code == .overloaded)
        while links.count < AwaitedLinks<Int>.countMax {
            try links.expect(.random(), from: .random(), until: .seconds(4), waiter: 0)
        }
        #expect(throws: ShoalError.self) { try links.expect(.random(), from: .random(), until: .zero, waiter: 0) }
        #expect(links.expire(now: .seconds(5)).count == AwaitedLinks<Int>.countMax)
        try links.expect(.random(), from: node, until: .seconds(9), waiter: 0)
    }

    @Test("a token is 32 hexadecimal digits and nothing else")
    func tokens() throws {
        let token = LinkToken.random()
        #expect(token.rawValue.count == LinkToken.characterCount)
        #expect(LinkToken(rawValue: token.rawValue) == token)
        for text in ["", "xyz", String(repeating: "g", count: 32), String(repeating: "A", count: 32)] {
            #expect(LinkToken(rawValue: text) == nil)
        }
    }
}
