extension LoadRequest {
    /// Options that this request names and that an instance which is there already does not have, as on the command
    /// line. `report` is the instance's, `held` what it was loaded with, nil where nobody knows.
    ///
    /// What the request leaves open is no difference, so that the same command may be given twice.
    package func differences(from report: InstanceReport, loadedWith held: LoadRequest?) -> [String] {
        let checks: [(option: String, isOther: Bool)] = [
            ("--layers", !layers.isEmpty && layers != held?.layers),
            ("--engine", engine.map { $0 != report.engine } ?? false),
            ("--context", contextTokenCount.map { $0 != report.contextTokenCount } ?? false),
            ("--sequences", sequenceCountMax.map { $0 != report.sequenceCountMax } ?? false),
            ("--wire", wire.map { $0 != report.wire } ?? false),
            ("--speculate", speculation.map { $0 != held?.speculation ?? .auto } ?? false),
            // Nodes may keep the file at different places.
            ("--draft", draft.map { Self.fileName($0) != held?.draft.map(Self.fileName) } ?? false),
            ("--objective", objective.map { $0 != held?.objective ?? .latency } ?? false),
            ("options of llama-server", rpc.map { $0 != held?.rpc } ?? false),
        ]
        return checks.filter(\.isOther).map(\.option)
    }

    private static func fileName(_ path: String) -> Substring { path.split(separator: "/").last ?? "" }
}
