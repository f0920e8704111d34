internal import Logging
package import ShoalCore
package import ShoalLinks
package import ShoalTrust

/// Ready-made identities for links in tests, kept in memory only.
package enum TestTrust {
    /// Members of one cluster that know each other; nobody else gets in.
    package static func members(_ names: [String]) throws(ShoalError) -> [LinkSecurity] {
        let key = ClusterKey.random()
        var trusts: [ClusterTrust] = []
        for name in names { trusts.append(try ClusterTrust.inMemory(nodeName: name, clusterKey: key)) }
        for trust in trusts {
            for other in trusts { try trust.merge(other.records) }
        }
        var securities: [LinkSecurity] = []
        for trust in trusts { securities.append(try security(trust)) }
        return securities
    }

    /// The first member of a cluster of its own, or one that lets in whoever has `sharedKey`.
    package static func alone(
        _ name: String, sharedKey: ClusterKey? = nil, unixSeconds: @escaping @Sendable () -> Int = { 1_000_000 }
    ) throws(ShoalError) -> LinkSecurity {
        try security(
            ClusterTrust.inMemory(nodeName: name, clusterKey: sharedKey ?? .random(), sharesKey: sharedKey != nil),
            unixSeconds: unixSeconds)
    }

    private static func security(
        _ trust: ClusterTrust, unixSeconds: @escaping @Sendable () -> Int = { 1_000_000 }
    ) throws(ShoalError) -> LinkSecurity {
        try LinkSecurity(
            trust: trust, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, unixSeconds: unixSeconds)
    }
}
