/// How an engine was started, so that a person can start the same thing.
package struct LaunchRecord: Hashable, Sendable, Codable {
    /// The program and its arguments.
    package var command: [String]
    /// The whole environment of the child; what may be secret is not handed to it (`EngineEnvironment`).
    package var environment: [String: String]

    package init(command: [String], environment: [String: String]) {
        self.command = command
        self.environment = environment
    }

    /// One line for a shell: `env -i NAME=VALUE … PROGRAM ARGUMENT …`, everything quoted that needs it.
    package var shellCommand: String {
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return (["env", "-i"] + variables + command).map(LaunchRecord.quoted).joined(separator: " ")
    }

    private static func quoted(_ word: String) -> String {
        let plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=+:,./@%"
        if !word.isEmpty, word.allSatisfy(plain.contains) { return word }
        var result = "'"
        for character in word { result += character == "'" ? "'\\''" : String(character) }
        return result + "'"
    }
}

/// The last lines of one engine and how it was started. What `shoal logs` prints.
package struct EngineLogReport: Hashable, Sendable, Codable {
    package var instance: InstanceID
    package var model: String
    package var nodeName: String
    package var stageIndex: Int
    /// Nil when the engine is not running: the lines are its last words.
    package var processID: Int32?
    package var launch: LaunchRecord?
    /// Oldest first.
    package var lines: [String]
    /// What it is, where it is not a stage's engine: "llama-server", "ggml-rpc-server".
    package var program: String?

    package init(
        instance: InstanceID, model: String, nodeName: String, stageIndex: Int, processID: Int32?,
        launch: LaunchRecord?, lines: [String]
    ) {
        self.instance = instance
        self.model = model
        self.nodeName = nodeName
        self.stageIndex = stageIndex
        self.processID = processID
        self.launch = launch
        self.lines = lines
    }
}
