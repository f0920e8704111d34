import ShoalCore
import Testing

@Suite("How an engine was started")
struct LaunchRecordTests {
    @Test("the command of a record is one line for a shell, with everything quoted that needs it")
    func shellCommand() {
        let record = LaunchRecord(
            command: ["/opt/shoal/shoal-engine", "two words", "it's", ""],
            environment: ["PATH": "/bin", "NOTE": "a $b"])
        #expect(
            record.shellCommand
                == #"env -i 'NOTE=a $b' PATH=/bin /opt/shoal/shoal-engine 'two words' 'it'\''s' ''"#)
    }

    @Test("an engine's environment is compared with a shell's: values of what is not handed on stay unsaid")
    func comparison() {
        let comparison = EnvironmentComparison(
            engine: ["PATH": "/bin", "LANG": "C", "GGML_X": "1"],
            shell: ["PATH": "/bin", "LANG": "de", "AWS_SECRET": "hidden", "EDITOR": "ed"])
        #expect(
            comparison.lines == [
                "different: LANG is C for the engine, de here", "engine only: GGML_X=1", "the same: PATH",
                "here only, not handed to engines: AWS_SECRET, EDITOR",
            ])
        #expect(EnvironmentComparison(engine: [:], shell: [:]).lines.isEmpty)
    }
}
