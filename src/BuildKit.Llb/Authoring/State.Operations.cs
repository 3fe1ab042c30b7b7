using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <content>Operations on states.</content>
public partial class State
{
    /// <summary>Runs a command. The answer is the file system afterwards, with this state's settings.</summary>
    public ExecState Run(RunOptions options)
    {
        var vertex = new ExecVertex(this, options);
        return new ExecState(vertex, vertex.RootOutput, WithPlatformOf(vertex.RootOutput, Node));
    }

    /// <summary>Runs a command line, split into words like a shell does but without expanding anything.</summary>
    public ExecState Run(string commandLine, OpConstraints? constraints = null) =>
        Run(new RunOptions { Args = Shlex.Split(commandLine), Constraints = constraints ?? OpConstraints.None });

    /// <summary>Runs a script with <c>/bin/sh -c</c>.</summary>
    public ExecState RunShell(string script, OpConstraints? constraints = null) =>
        Run(new RunOptions { Args = ["/bin/sh", "-c", script], Constraints = constraints ?? OpConstraints.None });

    /// <summary>Changes files.</summary>
    public State File(FileAction action, OpConstraints? constraints = null) =>
        WithOutput(new FileVertex(this, action, constraints ?? OpConstraints.None).Output);

    /// <summary>Builds the definition found in a file of this state.</summary>
    /// <param name="filename">The file; <c>buildkit.llb.definition</c> when empty.</param>
    /// <param name="constraints">Constraints of the operation.</param>
    /// <exception cref="LlbException">This state is scratch.</exception>
    public State Build(string filename = "", OpConstraints? constraints = null) =>
        IsScratch
            ? throw new LlbException("cannot build a definition from scratch")
            : WithOutput(new BuildVertex(this, filename, constraints ?? OpConstraints.None).Output);

    /// <summary>Lays file systems over each other, later ones over earlier ones. Scratch adds nothing; the settings
    /// are those of the first that is not scratch.</summary>
    public static State Merge(IEnumerable<State> states, OpConstraints? constraints = null)
    {
        var layers = states.Where(state => !state.IsScratch).ToArray();
        return layers.Length switch
        {
            0 => Scratch,
            1 => layers[0],
            _ => layers[0].WithOutput(new MergeVertex(layers, constraints ?? OpConstraints.None).Output),
        };
    }

    /// <summary>What changed from one file system to another, deletions included.</summary>
    public static State Diff(State lower, State upper, OpConstraints? constraints = null)
    {
        if (lower.IsScratch)
            return upper.IsScratch ? Scratch : upper;
        return lower.WithOutput(new DiffVertex(lower, upper, constraints ?? OpConstraints.None).Output);
    }

    /// <summary>The result of a definition that came from elsewhere; its operations keep their bytes. Scratch when it
    /// is empty.</summary>
    /// <exception cref="LlbException">The definition is broken.</exception>
    public static State FromDefinition(Definition definition) => DefinitionGraph.Load(definition);
}

/// <summary>The file system after a command, which may also have written to other mounts.</summary>
public sealed class ExecState : State
{
    private readonly ExecVertex _vertex;

    internal ExecState(ExecVertex vertex, Output? output, ValueNode node)
        : base(output, node) => _vertex = vertex;

    /// <summary>The root file system after the command.</summary>
    public State Root => this;

    /// <summary>Adds a mount to the command. The command itself is changed: mounts must be added before any state made from it is
    /// marshalled.</summary>
    /// <returns>The mount's file system after the command, with the settings of what was mounted; a read-only mount
    /// is what was mounted.</returns>
    public State AddMount(RunMount mount) => mount.Source.WithOutput(_vertex.Attach(mount));

    /// <summary>Adds a writable mount to the command.</summary>
    public State AddMount(string target, State source) => AddMount(new RunMount(target, source));

    /// <summary>The file system of a mount after the command.</summary>
    /// <exception cref="LlbException">There is no such mount.</exception>
    public State GetMount(string target) =>
        _vertex.HasMount(target) ? New(_vertex.Find(target)) : throw new LlbException($"no mount at {target}");
}
