import Logging
import ShoalCore
import ShoalLinks
import ShoalTrust

/// Who this node is, from its data folder.
enum NodeIdentity {
    /// Reads the node's key and its cluster's members, or makes them on first start. Throws `fileUnreadable` when the
    /// folder cannot be used, and refuses a damaged key rather than become somebody else.
    static func load(_ configuration: NodeConfiguration, logger: Logger) throws(ShoalError) -> LinkSecurity {
        try NodeFolders.create(configuration.dataDirectory)
        let (trust, notice) = try ClusterTrust.open(
            in: configuration.dataDirectory, nodeName: configuration.name, clusterKey: configuration.clusterKey,
            now: UnixClock.seconds())
        if let notice { logger.warning("\(notice)") }
        return try LinkSecurity(trust: trust, logger: logger, unixSeconds: { UnixClock.seconds() })
    }
}
