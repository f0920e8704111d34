/// How the environment of an engine differs from that of a shell, for people who start the same thing by hand.
package struct EnvironmentComparison: Sendable {
    /// Names with equal values, sorted.
    package var same: [String] = []
    /// Sorted by name.
    package var different: [(name: String, engine: String, shell: String)] = []
    package var onlyEngine: [(name: String, value: String)] = []
    /// Names only: what is not handed to engines may be secret.
    package var onlyShell: [String] = []

    package init(engine: [String: String], shell: [String: String]) {
        for (name, value) in engine.sorted(by: { $0.key < $1.key }) {
            switch shell[name] {
            case nil: onlyEngine.append((name, value))
            case value: same.append(name)
            case let other?: different.append((name, value, other))
            }
        }
        onlyShell = shell.keys.filter { engine[$0] == nil }.sorted()
    }

    /// One line per fact.
    package var lines: [String] {
        different.map { "different: \($0.name) is \($0.engine) for the engine, \($0.shell) here" }
            + onlyEngine.map { "engine only: \($0.name)=\($0.value)" }
            + (same.isEmpty ? [] : ["the same: \(same.joined(separator: ", "))"])
            + (onlyShell.isEmpty ? [] : ["here only, not handed to engines: \(onlyShell.joined(separator: ", "))"])
    }
}
