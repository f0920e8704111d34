/// How people name a node: by its name, by its id, or by the first characters of its id. Names are unique by convention
/// only, so a name that two nodes have is refused, never guessed.
package enum NodeNaming {
    /// Fewer characters of an id could be a name.
    package static let idPrefixCountMin = 8

    /// The node that `text` names among `nodes`, nil for none. Throws `invalidRequest` for several, with their ids.
    package static func index(of text: String, among nodes: [(name: String, id: NodeID?)]) throws(ShoalError) -> Int? {
        if let exact = nodes.firstIndex(where: { $0.id?.rawValue == text }) { return exact }
        let isPrefix = text.count >= idPrefixCountMin
        let matches = nodes.indices.filter { index in
            nodes[index].name == text || isPrefix && nodes[index].id?.rawValue.hasPrefix(text) ?? false
        }
        guard matches.count > 1 else { return matches.first }
        let ids = matches.map { nodes[$0].id.map { "\($0)" } ?? "unknown" }.joined(separator: ", ")
        throw ShoalError(.invalidRequest, "\(matches.count) nodes match \"\(text)\"; name one by its id: \(ids)")
    }

    /// The same reports; those that share a name say so, with what tells them apart.
    package static func notingDuplicates(_ nodes: [NodeReport]) -> [NodeReport] {
        let counts = nodes.reduce(into: [String: Int]()) { counts, node in
            if node.id != nil { counts[node.name, default: 0] += 1 }
        }
        return nodes.map { node in
            guard let id = node.id, let count = counts[node.name], count > 1, node.problem == nil else { return node }
            var noted = node
            noted.problem =
                "\(count) nodes are called \(node.name); this is \(id.rawValue.prefix(idPrefixCountMin)); "
                + "give each its own name: shoal serve --name NAME"
            return noted
        }
    }
}
