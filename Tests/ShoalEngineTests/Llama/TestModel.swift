import Foundation
import ShoalCore
import Testing

/// Models on this machine, put there by `make setup`.
struct TestModel: Sendable, CustomTestStringConvertible {
    var name: String
    var path: String
    var layerCount: Int

    var testDescription: String { name }

    /// A real one: SmolLM2-135M-Instruct.
    static var reference: TestModel {
        let path = environment["SHOAL_REFERENCE_MODEL"] ?? "\(cache)/models/SmolLM2-135M-Instruct.Q4_1.gguf"
        return TestModel(name: "SmolLM2", path: path, layerCount: 30)
    }

    /// Small ones with random weights, see scripts/models/make_test_models.py.
    static func family(_ name: String, layerCount: Int = 6) -> TestModel {
        TestModel(name: name, path: "\(cache)/test-models/\(name).gguf", layerCount: layerCount)
    }

    static let families = [
        family("llama"), family("llama-tied"), family("llama-experts"), family("qwen2"), family("qwen3"),
        family("phi3"),
        family("mamba"), family("gemma3", layerCount: 12),
    ]

    /// Throws the sentence that tells what to do when the file is missing.
    func require() throws -> TestModel {
        guard FileManager.default.fileExists(atPath: path) else {
            throw ShoalError(.fileUnreadable, "\(path) is missing: run make setup")
        }
        return self
    }

    /// Stages that end at `cuts` and at the last layer.
    func stages(cutAt cuts: [Int]) throws -> [LayerRange] {
        let ends = cuts + [layerCount]
        return try zip([0] + cuts, ends).map { first, end in
            guard let range = LayerRange(first: first, end: end) else {
                throw ShoalError(.invalidPlacement, "cuts \(cuts) of \(layerCount) layers")
            }
            return range
        }
    }

    private static var environment: [String: String] { ProcessInfo.processInfo.environment }

    private static var cache: String {
        environment["SHOAL_CACHE"] ?? "\(FileManager.default.homeDirectoryForCurrentUser.path)/.cache/shoal"
    }
}
