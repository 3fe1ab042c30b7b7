using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>What an operation must have before anything is done with it.</summary>
public static class OpValidation
{
    /// <summary>Checks the structure of an operation.</summary>
    /// <exception cref="LlbException">Something is missing.</exception>
    public static void Validate(Op op)
    {
        switch (op.OpCase)
        {
            case Op.OpOneofCase.Exec:
                Validate(op.Exec);
                break;
            case Op.OpOneofCase.File when op.File.Actions.Count == 0:
                throw new LlbException("invalid file op with no actions");
            case Op.OpOneofCase.Merge:
                foreach (var input in op.Merge.Inputs)
                    CheckInput(op, input.Input, "merge");
                break;
            case Op.OpOneofCase.Diff:
                if (op.Diff.Lower is not { } lower || op.Diff.Upper is not { } upper)
                    throw new LlbException("invalid diff op with no lower or upper");
                if (lower.Input != -1)
                    CheckInput(op, lower.Input, "diff");
                if (upper.Input != -1)
                    CheckInput(op, upper.Input, "diff");
                break;
        }
    }

    private static void Validate(ExecOp exec)
    {
        if (exec.Meta is not { } meta)
            throw new LlbException("invalid exec op with no meta");
        if (meta.Args.Count == 0)
            throw new LlbException("invalid exec op with no args");
        if (exec.Mounts.Count == 0)
            throw new LlbException("invalid exec op with no mounts");
        if (exec.Mounts.All(mount => mount.Dest != "/"))
            throw new LlbException("invalid exec op with no rootfs");
    }

    private static void CheckInput(Op op, long index, string kind)
    {
        if (index < 0 || index >= op.Inputs.Count)
            throw new LlbException($"invalid {kind} op with input index {index}, {op.Inputs.Count} provided");
    }
}
