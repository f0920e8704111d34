import ArgumentParser
import ShoalCore
import Testing

@testable import shoal

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

@Suite("What the commands take")
struct CommandLineTests {
    private func body(_ arguments: String...) throws -> String {
        let command = try RunCommand.parse(["m", "hello"] + arguments)
        let request = ChatRequestBody(
            model: "m", messages: [], sampling: .init(chosen: command.temperature), seed: command.seed,
            maxTokens: command.maxTokens)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return String(decoding: try encoder.encode(request), as: UTF8.self)
    }

    @Test("run samples as llama.cpp's programs do, unless a temperature is given")
    func sampling() throws {
        #expect(
            try body()
                == #"{"messages":[],"min_p":0.05,"model":"m","stream":true,"temperature":0.8,"top_k":40,"top_p":0.95}"#)
        #expect(
            try body("--temperature", "0", "--seed", "7", "--max-tokens", "5")
                == #"{"max_tokens":5,"messages":[],"model":"m","seed":7,"stream":true,"temperature":0}"#)
    }

    @Test("what only means something with a model needs one", arguments: ["--engine", "--layers"])
    func doctor(option: String) throws {
        #expect(throws: (any Error).self) { try DoctorCommand.parse([option, "rpc"]) }
        #expect(try DoctorCommand.parse([option, "rpc", "--model", "m"]).model == "m")
    }

    @Test("the help of load and plan begins with the model, and llama-server's options follow the general ones")
    func order() throws {
        for help in [LoadCommand.helpMessage(), PlanCommand.helpMessage()] {
            let lines = help.split(separator: "\n")
            let places = try ["<model>", "--layers", "--wire", "--engine", "--mmproj", "--host"].map { word in
                try #require(lines.firstIndex { $0.hasPrefix("  \(word)") })
            }
            #expect(places == places.sorted())
        }
    }

    @Test("what make engine built is looked for where the scripts put it")
    func cache() {
        #if !os(macOS)
            #expect(LlamaExecutables.cache(["HOME": "/h"]) == "/h/.cache/shoal")
            #expect(LlamaExecutables.cache(["HOME": "/h", "XDG_CACHE_HOME": "/x", "SHOAL_CACHE": ""]) == "/x/shoal")
        #endif
        #expect(LlamaExecutables.cache(["HOME": "/h", "XDG_CACHE_HOME": "/x", "SHOAL_CACHE": "/s"]) == "/s")
        #expect(LlamaExecutables.cache([:]) == nil)
    }

    @Test("the list of commands has each of them once")
    func commands() {
        let help = Shoal.helpMessage()
        for command in Shoal.configuration.subcommands {
            let name = command.configuration.commandName ?? ""
            #expect(!name.isEmpty && help.split(separator: "\n").count { $0.hasPrefix("  \(name) ") } == 1)
        }
    }
}
