import HTTPTypes

extension HTTPField.Name {
    /// The instance that answered. A static name that is not valid would be our bug.
    static let shoalInstance = HTTPField.Name("x-shoal-instance") ?? .server
    /// The name of the node that computed the answer's tokens.
    static let shoalHead = HTTPField.Name("x-shoal-head") ?? .server
}
