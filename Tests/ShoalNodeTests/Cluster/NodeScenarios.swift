import Testing

/// All tests of whole nodes. One after another: some start a node again at the port it had, which another test's node
/// may have been given meanwhile.
@Suite("Nodes", .serialized)
enum NodeScenarios {}
