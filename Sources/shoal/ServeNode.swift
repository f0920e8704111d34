import Logging
import ShoalCore

/// Runs a node and its API until a signal ends it.
func runNode(_ settings: ServeSettings, logger: Logger) async throws {
    throw ShoalError(.internal, "the node \(settings.name) is not composed yet")
}
