/// What is known to be wrong with some builds of llama.cpp.
struct LlamaFault: Sendable {
    let buildNumbers: ClosedRange<Int>
    let finding: String
    let advice: String

    static let known = [
        // Source: llama.cpp issue 28487, open when this was written; the range is that of its reports.
        LlamaFault(
            buildNumbers: 10620...10819,
            finding: "with which three and more workers of the rpc engine were seen to hang",
            advice: "build the engine of the revision that make engine takes, or use at most two workers")
    ]

    /// Of a build such as "b10700-0c1e57098". Builds outside of a Git checkout call themselves b0: nothing is known of
    /// them.
    static func of(_ build: String) -> LlamaFault? {
        guard build.hasPrefix("b"), let number = Int(build.dropFirst().prefix(while: \.isNumber)) else { return nil }
        return known.first { $0.buildNumbers.contains(number) }
    }
}
