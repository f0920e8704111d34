import ShoalCore
import Testing

@Suite("What people call a node")
struct NodeNamingTests {
    private let ids = ["aaaaaaaa11", "aaaaaaaa22", "bbbbbbbb33"].compactMap { NodeID($0) }

    private var nodes: [(name: String, id: NodeID?)] {
        [("x", ids[0]), ("y", ids[1]), ("x", ids[2]), ("?", nil)]
    }

    @Test("a node is found by name, by id, and by the beginning of its id")
    func found() throws {
        #expect(try NodeNaming.index(of: "y", among: nodes) == 1)
        #expect(try NodeNaming.index(of: "aaaaaaaa22", among: nodes) == 1)
        #expect(try NodeNaming.index(of: "bbbbbbbb", among: nodes) == 2)
        #expect(try NodeNaming.index(of: "bbbbbbb", among: nodes) == nil)
        #expect(try NodeNaming.index(of: "z", among: nodes) == nil)
    }

    @Test("what fits several nodes is refused with their ids", arguments: ["x", "aaaaaaaa"])
    func ambiguous(text: String) {
        let error = #expect(throws: ShoalError.self) { _ = try NodeNaming.index(of: text, among: nodes) }
        #expect(error?.code == .invalidRequest)
        #expect(error?.message.hasPrefix("2 nodes match \"\(text)\"") == true)
        #expect(error?.message.contains("aaaaaaaa11") == true)
    }

    @Test("nodes that share a name say so; a problem of their own comes first")
    func duplicates() {
        let reports = nodes.map { node in
            var report = NodeReport(name: node.name, linkAddress: "l", reachability: .connected)
            report.id = node.id
            return report
        }
        var noted = NodeNaming.notingDuplicates(reports)
        #expect(noted[0].problem?.hasPrefix("2 nodes are called x; this is aaaaaaaa;") == true)
        #expect(noted[2].problem?.contains("bbbbbbbb") == true)
        #expect(noted[1].problem == nil && noted[3].problem == nil)
        noted[0].problem = "gone"
        #expect(NodeNaming.notingDuplicates(noted)[0].problem == "gone")
    }
}
