import ShoalCore

/// Typed access to the members of a request, with errors that name the field.
///
/// A member that is `null` counts as absent, as OpenAI's own clients send it; unknown members are ignored.
struct RequestFields {
    private let object: JSONValue
    /// In front of names in messages, for objects inside the request.
    private let prefix: String

    /// Throws `.invalidRequest` unless `value` is an object.
    init(_ value: JSONValue, prefix: String = "") throws(RequestError) {
        guard case .object = value else {
            let what = prefix.isEmpty ? "the request body" : "\"\(prefix.dropLast())\""
            throw RequestError(.invalidRequest, "\(what) must be a JSON object, not \(value.kindDescription)")
        }
        object = value
        self.prefix = prefix
    }

    subscript(name: String) -> JSONValue? { object[name] }

    /// The complaint that `name` is not what it should be.
    func refuse(_ name: String, _ complaint: String) -> RequestError {
        RequestError(.invalidRequest, "\"\(prefix)\(name)\" \(complaint)", param: prefix + name)
    }

    func string(_ name: String) throws(RequestError) -> String? {
        guard let value = object[name] else { return nil }
        guard case .string(let text) = value else { throw mistyped(name, "a string", value) }
        return text
    }

    func requiredString(_ name: String) throws(RequestError) -> String {
        guard let text = try string(name), !text.isEmpty else { throw refuse(name, "is missing; it must be a string") }
        return text
    }

    func boolean(_ name: String) throws(RequestError) -> Bool? {
        guard let value = object[name] else { return nil }
        guard case .boolean(let flag) = value else { throw mistyped(name, "true or false", value) }
        return flag
    }

    /// A number, whole or not, inside `range`.
    func number(_ name: String, in range: ClosedRange<Double>) throws(RequestError) -> Double? {
        guard let value = object[name] else { return nil }
        let number: Double
        switch value {
        case .integer(let integer): number = Double(integer)
        case .number(let double): number = double
        default: throw mistyped(name, "a number", value)
        }
        guard range.contains(number) else {
            throw refuse(name, "must be between \(range.lowerBound) and \(range.upperBound), not \(number)")
        }
        return number
    }

    /// A whole number inside `range`; `5.0` counts as whole.
    func integer(_ name: String, in range: ClosedRange<Int>) throws(RequestError) -> Int? {
        guard let value = object[name] else { return nil }
        guard let integer = RequestFields.wholeNumber(value) else { throw mistyped(name, "an integer", value) }
        guard range.contains(integer) else {
            throw refuse(name, "must be between \(range.lowerBound) and \(range.upperBound), not \(integer)")
        }
        return integer
    }

    func array(_ name: String) throws(RequestError) -> [JSONValue]? {
        guard let value = object[name] else { return nil }
        guard case .array(let elements) = value else { throw mistyped(name, "an array", value) }
        return elements
    }

    func object(_ name: String) throws(RequestError) -> [JSONValue.Member]? {
        guard let value = object[name] else { return nil }
        guard case .object(let members) = value else { throw mistyped(name, "an object", value) }
        return members
    }

    /// The object called `name`, for typed access to its own members.
    func fields(_ name: String) throws(RequestError) -> RequestFields? {
        guard let value = object[name] else { return nil }
        guard case .object = value else { throw mistyped(name, "an object", value) }
        return try RequestFields(value, prefix: "\(prefix)\(name).")
    }

    /// The value as an integer, or nil if it has another kind, a fraction, or more than 64 bits.
    static func wholeNumber(_ value: JSONValue) -> Int? {
        switch value {
        case .integer(let integer): integer
        case .number(let double): Int(exactly: double)
        default: nil
        }
    }

    private func mistyped(_ name: String, _ expected: String, _ value: JSONValue) -> RequestError {
        refuse(name, "must be \(expected), not \(value.kindDescription)")
    }
}
