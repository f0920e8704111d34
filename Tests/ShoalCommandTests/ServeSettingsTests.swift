import ArgumentParser
import Logging
import ShoalCore
import ShoalTrust
import Testing

@testable import shoal

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

@Suite("Options of shoal serve")
struct ServeSettingsTests {
    private func machine(_ environment: [String: String] = [:]) -> MachineFacts {
        MachineFacts(
            hostName: "ann's box", processorCount: 6, currentDirectory: "/srv",
            environment: ["HOME": "/home/ann"].merging(environment) { $1 })
    }

    private func read(
        _ arguments: [String] = [], _ environment: [String: String] = [:]
    ) async throws -> ServeSettings {
        try await ServeCommand.parse(arguments).settings(machine: machine(environment))
    }

    /// Runs `body` with a configuration file of that text.
    private func withFile<Result>(_ text: String, _ body: (String) async throws -> Result) async throws -> Result {
        let url = FileManager.default.temporaryDirectory.appending(path: "shoal-\(UUID().uuidString).json")
        try Data(text.utf8).write(to: url)
        defer { try? FileManager.default.removeItem(at: url) }  // What is left is only a temporary file.
        return try await body(url.path())
    }

    private func refusal(_ arguments: [String], _ environment: [String: String] = [:]) async -> ShoalError? {
        await #expect(throws: ShoalError.self) { try await read(arguments, environment) }
    }

    @Test("without any option the defaults hold")
    func defaults() async throws {
        let settings = try await read()
        #expect(settings.name == "ann-s-box")
        #expect(settings.dataDirectory.hasPrefix("/home/ann/"))
        #expect(settings.api.description == "127.0.0.1:7460")
        #expect(settings.link.description == "127.0.0.1:7461")
        #expect(settings.peers.isEmpty)
        #expect(settings.threadCount == 6)
        #expect(settings.memory == nil)
        #expect(settings.modelDirectories.isEmpty)
        #expect(settings.logLevel == .info)
    }

    @Test("the command line wins over the environment, and the environment over the file, option by option")
    func precedence() async throws {
        let text = """
            {"name": "file", "threads": 3, "memory": "1GiB", "peers": ["f:1", "g"], "api": "0.0.0.0:1"}
            """
        let settings = try await withFile(text) { file in
            try await read(
                ["--name", "typed", "--config", file, "--models", "m", "--models", "/n"],
                ["SHOAL_NAME": "variable", "SHOAL_THREADS": "4", "SHOAL_PEERS": "a:1, b:2", "SHOAL_API": ""])
        }
        #expect(settings.name == "typed")
        #expect(settings.threadCount == 4)
        #expect(settings.memory == ByteCount(1 << 30))
        #expect(settings.peers.map(\.description) == ["a:1", "b:2"])
        #expect(settings.api.description == "0.0.0.0:1")
        #expect(settings.modelDirectories == ["/srv/m", "/n"])
    }

    @Test("SHOAL_CONFIG names the file too, and numbers in it may be numbers")
    func fileFromEnvironment() async throws {
        let settings = try await withFile(#"{"threads": 3, "peers": ["f:1", "g"], "logLevel": "debug"}"#) { file in
            try await read([], ["SHOAL_CONFIG": file])
        }
        #expect(settings.threadCount == 3)
        #expect(settings.peers.map(\.description) == ["f:1", "g:7461"])
        #expect(settings.logLevel == .debug)
    }

    @Test(
        "a wrong value is told with its option and where it came from",
        arguments: [
            (["--threads", "0"], [:], "the option --threads is \"0\", which is not a whole number from 1 to 1024"),
            (["--threads", "x"], [:], "the option --threads is \"x\", which is not a whole number from 1 to 1024"),
            (["--peer", "a:x"], [:], "the option --peer is \"a:x\", which is not HOST:PORT"),
            (["--memory", "lots"], [:], "the option --memory is \"lots\", which is not a size such as 6GiB or 500MB"),
            (
                [], ["SHOAL_NAME": "a=b"],
                "the environment variable SHOAL_NAME is \"a=b\", "
                    + "which is not 1 to 64 letters, digits, \".\", \"-\" or \"_\""
            ),
            (
                [], ["SHOAL_LOG_LEVEL": "loud"],
                "the environment variable SHOAL_LOG_LEVEL is \"loud\", which is not one of "
                    + "trace, debug, info, notice, warning, error, critical"
            ),
        ] as [([String], [String: String], String)])
    func wrong(arguments: [String], environment: [String: String], message: String) async {
        #expect(await refusal(arguments, environment)?.message == message)
    }

    @Test("a wrong value in the file names the file")
    func wrongInFile() async throws {
        try await withFile(#"{"memory": "-1"}"#) { file in
            let error = await refusal(["--config", file])
            #expect(error?.message == "\(file): \"memory\" is \"-1\", which is not a size such as 6GiB or 500MB")
        }
        try await withFile(#"{"name": ["a"]}"#) { file in
            #expect(await refusal(["--config", file])?.message == "\(file): \"name\" is not a text or a whole number")
        }
    }

    @Test("a key that is no option, a file that is no JSON and a missing file are refused")
    func unusableFile() async throws {
        try await withFile(#"{"nmae": "a"}"#) { file in
            let error = await refusal(["--config", file])
            #expect(error?.message.hasPrefix("\(file): \"nmae\" is not an option; there are name, data,") == true)
        }
        try await withFile("[1]") { file in
            let error = await refusal(["--config", file])
            #expect(error?.message == "the configuration file \(file) is not a JSON object")
        }
        #expect(await refusal(["--config", "/nowhere/shoal.json"])?.code == .fileUnreadable)
    }

    @Test("a cluster key comes from text or a file, an invite from its code, and what is neither is refused")
    func trust() async throws {
        let key = String(repeating: "0f", count: 32)
        #expect(try await read([], ["SHOAL_CLUSTER_KEY": key]).clusterKey?.hexadecimal == key)
        let fromFile = try await withFile(key) { try await read(["--cluster-key", $0]) }
        #expect(fromFile.clusterKey?.hexadecimal == key)
        #expect(await refusal(["--cluster-key", "nothing/here"])?.message.contains("cluster key is neither") == true)
        #expect(await refusal(["--join", "SHOAL1ABC"])?.message.contains("not a usable invite code") == true)
        let defaults = try await read()
        #expect(defaults.clusterKey == nil && defaults.invite == nil)
    }

    @Test("the data folder follows XDG_DATA_HOME unless it is relative")
    func dataDirectory() {
        #if !os(macOS)
            #expect(machine().defaultDataDirectory == "/home/ann/.local/share/shoal")
            #expect(machine(["XDG_DATA_HOME": "/data"]).defaultDataDirectory == "/data/shoal")
            #expect(machine(["XDG_DATA_HOME": "data"]).defaultDataDirectory == "/home/ann/.local/share/shoal")
        #else
            #expect(machine().defaultDataDirectory == "/home/ann/Library/Application Support/shoal")
        #endif
    }
}

@Suite("The documentation of options")
struct ConfigurationDocumentationTests {
    /// A file of the repository.
    private func text(_ path: String) throws -> String {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return String(decoding: try Data(contentsOf: root.appending(path: path)), as: UTF8.self)
    }

    @Test("every option has its row with its flag and its variable, and there is no other row")
    func table() throws {
        let rows = try text("docs/configuration.md").split(separator: "\n").filter { $0.hasPrefix("| `") }
        #expect(rows.count == ServeOption.allCases.count)
        for (row, option) in zip(rows, ServeOption.allCases) {
            #expect(row.hasPrefix("| `\(option.rawValue)` | `\(option.flag)`"))
            #expect(row.contains("| `\(option.variable)`"))
            #expect(row.contains("(repeatable)") == option.isList)
        }
    }

    @Test("the example file has every option and is valid")
    func example() async throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let file = root.appending(path: "docs/shoal.example.json").path()
        let machine = MachineFacts(hostName: "h", processorCount: 1, currentDirectory: "/", environment: [:])
        let settings = try await ServeCommand.parse(["--config", file]).settings(machine: machine)
        #expect(settings.name == "desktop")
        #expect(settings.peers.map(\.description) == ["192.168.1.20:7461", "laptop.local:7461"])
        #expect(settings.memory == ByteCount(24 << 30))
        let example = try text("docs/shoal.example.json")
        for option in ServeOption.allCases { #expect(example.contains("\"\(option.rawValue)\":")) }
    }

    @Test("the help of shoal serve has every flag")
    func help() {
        let help = ServeCommand.helpMessage()
        for option in ServeOption.allCases {
            #expect(help.contains(option.flag + (option == .debugRecovery ? "" : " <")))
        }
    }
}
