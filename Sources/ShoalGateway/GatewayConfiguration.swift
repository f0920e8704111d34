package import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Where the gateway listens, and what it takes from the outside world.
package struct GatewayConfiguration: Sendable {
    /// A host name or address of this machine.
    package var host: String
    /// 0 lets the system choose one; `Gateway` tells which.
    package var port: Int
    /// The time that responses carry, in seconds since 1970.
    package var unixSeconds: @Sendable () -> Int
    /// Draws the identity of each request.
    package var makeRequestID: @Sendable () -> RequestID

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
        unixSeconds = { Int(Date().timeIntervalSince1970) }
        makeRequestID = { RequestID.random() }
    }
}
