import ShoalCore
import ShoalLinks

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Addresses at which nodes were linked with before, as a value: a bounded number, the most recent ones.
struct RememberedPeers: Hashable, Sendable {
    struct Entry: Hashable, Sendable, Codable {
        var node: NodeID
        var address: LinkAddress
        /// When it worked last.
        var unixSeconds: Int
    }

    static let entryCountMax = 256
    static let entryCountPerNodeMax = 4
    static let fileByteCountMax = 1 << 20
    /// What worked so shortly before need not be stored again.
    static let refreshSeconds = 3600
    private static let format = 1

    private struct Contents: Codable {
        var format: Int
        var peers: [Entry]
    }

    /// Most recent first.
    private(set) var entries: [Entry] = []

    init() {}

    /// The file's contents. Nil for anything that `encoded` does not write.
    init?(decoding bytes: [UInt8]) {
        // What cannot be read is damaged, whatever the decoder says.
        guard let contents = try? JSONDecoder().decode(Contents.self, from: Data(bytes)),
            contents.format == Self.format, contents.peers.count <= Self.entryCountMax
        else { return nil }
        entries = contents.peers
    }

    func encoded() throws(ShoalError) -> [UInt8] {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            return Array(try encoder.encode(Contents(format: Self.format, peers: entries)))
        } catch {
            throw ShoalError(.internal, "the remembered addresses cannot be written: \(error)")
        }
    }

    /// A link to `node` was made at `address`. True when that is worth storing.
    mutating func worked(_ address: LinkAddress, of node: NodeID, unixSeconds: Int) -> Bool {
        let old = entries.first { $0.node == node && $0.address == address }
        if let old, (old.unixSeconds...old.unixSeconds + Self.refreshSeconds).contains(unixSeconds) { return false }
        // Another node at this address: the old one has moved.
        entries.removeAll { $0.address == address }
        entries.insert(Entry(node: node, address: address, unixSeconds: unixSeconds), at: 0)
        if entries.count(where: { $0.node == node }) > Self.entryCountPerNodeMax,
            let oldest = entries.lastIndex(where: { $0.node == node })
        {
            entries.remove(at: oldest)
        }
        if entries.count > Self.entryCountMax { entries.removeLast(entries.count - Self.entryCountMax) }
        return true
    }

    /// A node that is no member any more. True when it was known.
    mutating func forget(_ node: NodeID) -> Bool {
        let count = entries.count
        entries.removeAll { $0.node == node }
        return entries.count < count
    }
}
