import Configuration
import ShoalCore
import SystemPackage

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Where the values of options come from, the first that has one wins: command line, environment, configuration file.
struct SettingsSources: Sendable {
    private struct Source: Sendable {
        /// In messages, in front of the option's name there.
        var description: String
        var provider: any ConfigProvider
        var key: @Sendable (ServeOption) -> AbsoluteConfigKey
        var optionName: @Sendable (ServeOption) -> String
    }

    private var sources: [Source]

    /// `commandLine` holds what was typed; `environment` all variables; `file` is the path of a JSON file. Throws
    /// `.fileUnreadable` or `.invalidRequest` with the path if the file cannot be used or has a key that is no option.
    init(commandLine: [ServeOption: [String]], environment: [String: String], file: String?) async throws(ShoalError) {
        sources = [
            SettingsSources.commandLine(commandLine),
            Source(
                description: "the environment variable",
                provider: EnvironmentVariablesProvider(environmentVariables: environment.filter { !$0.value.isEmpty }),
                key: { AbsoluteConfigKey(["shoal", $0.rawValue]) }, optionName: \.variable),
        ]
        guard let file else { return }
        try SettingsSources.refuseUnknownKeys(file)
        do {
            let provider = try await FileProvider<JSONSnapshot>(filePath: FilePath(file))
            sources.append(
                Source(
                    description: "\(file):", provider: provider, key: { AbsoluteConfigKey([$0.rawValue]) },
                    optionName: { "\"\($0.rawValue)\"" }))
        } catch {
            throw ShoalError(.invalidRequest, "the configuration file \(file) cannot be used: \(error)")
        }
    }

    /// The value of an option with one value, nil if no source has it. Throws `.invalidRequest` if `parse` gives nil.
    func value<Value>(
        _ option: ServeOption, _ expected: String, parse: (String) -> Value?
    ) throws(ShoalError) -> Value? {
        for source in sources {
            guard let text = try text(option, in: source) else { continue }
            return try parsed(text, option, source, expected, parse)
        }
        return nil
    }

    /// The values of an option with several, of the first source that has any.
    func values<Value>(
        _ option: ServeOption, _ expected: String, parse: (String) -> Value?
    ) throws(ShoalError) -> [Value] {
        for source in sources {
            guard let texts = try texts(option, in: source) else { continue }
            var values: [Value] = []
            for text in texts { values.append(try parsed(text, option, source, expected, parse)) }
            return values
        }
        return []
    }

    private func parsed<Value>(
        _ text: String, _ option: ServeOption, _ source: Source, _ expected: String, _ parse: (String) -> Value?
    ) throws(ShoalError) -> Value {
        guard let value = parse(text) else {
            let name = "\(source.description) \(source.optionName(option))"
            throw ShoalError(.invalidRequest, "\(name) is \"\(text)\", which is not \(expected)")
        }
        return value
    }

    private func text(_ option: ServeOption, in source: Source) throws(ShoalError) -> String? {
        do {
            let key = source.key(option)
            // A file may write numbers as numbers; the provider refuses to read them as text.
            if let result = try? source.provider.value(forKey: key, type: .int),
                case .int(let number)? = result.value?.content
            {
                return String(number)
            }
            guard case .string(let text)? = try source.provider.value(forKey: key, type: .string).value?.content else {
                return nil
            }
            return text
        } catch {
            throw mistyped(option, source, "a text or a whole number")
        }
    }

    private func texts(_ option: ServeOption, in source: Source) throws(ShoalError) -> [String]? {
        do {
            let value = try source.provider.value(forKey: source.key(option), type: .stringArray).value
            guard case .stringArray(let texts)? = value?.content else { return nil }
            return texts.map { $0.filter { !$0.isNewline } }.filter { !$0.isEmpty }
        } catch {
            throw mistyped(option, source, "a list of texts")
        }
    }

    private func mistyped(_ option: ServeOption, _ source: Source, _ expected: String) -> ShoalError {
        ShoalError(.invalidRequest, "\(source.description) \(source.optionName(option)) is not \(expected)")
    }

    private static func commandLine(_ typed: [ServeOption: [String]]) -> Source {
        var values: [AbsoluteConfigKey: ConfigValue] = [:]
        for (option, texts) in typed where !texts.isEmpty {
            let content: ConfigContent = option.isList ? .stringArray(texts) : .string(texts[texts.count - 1])
            values[AbsoluteConfigKey([option.rawValue])] = ConfigValue(content, isSecret: false)
        }
        return Source(
            description: "the option", provider: InMemoryProvider(name: "command line", values: values),
            key: { AbsoluteConfigKey([$0.rawValue]) }, optionName: \.flag)
    }

    /// A misspelt key would otherwise be ignored without a word.
    private static func refuseUnknownKeys(_ file: String) throws(ShoalError) {
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: file))
        } catch {
            throw ShoalError(.fileUnreadable, "the configuration file \(file) cannot be read: \(error)")
        }
        let object: [String: Anything]
        do {
            object = try JSONDecoder().decode([String: Anything].self, from: data)
        } catch {
            throw ShoalError(.invalidRequest, "the configuration file \(file) is not a JSON object")
        }
        if let unknown = object.keys.sorted().first(where: { ServeOption(rawValue: $0) == nil }) {
            let known = ServeOption.allCases.map(\.rawValue).joined(separator: ", ")
            throw ShoalError(.invalidRequest, "\(file): \"\(unknown)\" is not an option; there are \(known)")
        }
    }

    /// A value that is not looked at.
    private struct Anything: Decodable {
        init(from decoder: any Decoder) {}
    }
}
