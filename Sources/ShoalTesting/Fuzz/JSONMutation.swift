internal import Foundation

/// Spoils JSON without breaking its syntax: values that are legal in kind and absurd in content, members that are
/// missing, repeated or of another kind.
package enum JSONMutation {
    private static let numbers = [
        "0", "-1", "1", "255", "65536", "2147483647", "2147483648", "-2147483649", "4294967296",
        "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1e308", "-1e-308", "0.5",
    ]
    private static let texts = [
        "", " ", "a", "-1", "\u{0}", "\u{FFFD}", "ünï👩‍👩‍👧cödé", "../../etc/passwd", "127.0.0.1:0", "[::]:99999",
        String(repeating: "f", count: 64), String(repeating: "x", count: 70_000),
    ]
    private static let others = ["null", "true", "[]", "{}", "\"\"", "0", "[[[[[[[[]]]]]]]]"]

    /// `original`, which is JSON, after one to three spoilings.
    package static func mutated(_ original: [UInt8], using random: inout SeededGenerator) -> [UInt8] {
        guard var value = try? JSONSerialization.jsonObject(with: Data(original), options: .fragmentsAllowed) else {
            return original
        }
        for _ in 0..<Int.random(in: 1...3, using: &random) { value = spoiled(value, using: &random) }
        return (try? JSONSerialization.data(withJSONObject: value, options: [.fragmentsAllowed, .sortedKeys]))
            .map(Array.init) ?? original
    }

    /// Text that is nearly JSON: as `ByteMutation` does it, and with brackets without end.
    package static func broken(_ original: [UInt8], using random: inout SeededGenerator) -> [UInt8] {
        guard Int.random(in: 0..<10, using: &random) == 0 else {
            return ByteMutation.mutated(original, using: &random)
        }
        let bracket = Bool.random(using: &random) ? "[" : "{\"a\":"
        return Array(String(repeating: bracket, count: .random(in: 1...5000, using: &random)).utf8)
    }

    /// Changes one place somewhere inside.
    private static func spoiled(_ value: Any, using random: inout SeededGenerator) -> Any {
        if let object = value as? [String: Any], let key = object.keys.sorted().randomElement(using: &random) {
            var object = object
            switch Int.random(in: 0..<12, using: &random) {
            case 0: object[key] = nil
            case 1: object[key] = other(using: &random)
            case 2: object["unknown"] = object[key]
            default: object[key] = spoiled(object[key] ?? NSNull(), using: &random)
            }
            return object
        }
        if let array = value as? [Any], let index = array.indices.randomElement(using: &random) {
            var array = array
            switch Int.random(in: 0..<8, using: &random) {
            case 0: array.remove(at: index)
            case 1: array.append(contentsOf: Array(repeating: array[index], count: .random(in: 1...40, using: &random)))
            default: array[index] = spoiled(array[index], using: &random)
            }
            return array
        }
        return leaf(like: value, using: &random)
    }

    private static func leaf(like value: Any, using random: inout SeededGenerator) -> Any {
        if Int.random(in: 0..<10, using: &random) == 0 { return other(using: &random) }
        if value is String { return texts.randomElement(using: &random) ?? "" }
        if value is NSNumber { return parsed(numbers.randomElement(using: &random) ?? "0") }
        return other(using: &random)
    }

    private static func other(using random: inout SeededGenerator) -> Any {
        parsed(others.randomElement(using: &random) ?? "null")
    }

    private static func parsed(_ text: String) -> Any {
        (try? JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)) ?? NSNull()
    }
}
