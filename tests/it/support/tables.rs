//! The tables that only the checks read as models: the product reaches them by SQL.

/// `members`: a chatter's watermarks in a room.
pub mod member {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "members")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub chatroom_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub chatter_id: i64,
        pub delivered_seq: i64,
        pub read_seq: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// `push_outbox`: a pending push, one row a room and receiver.
pub mod push_outbox {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "push_outbox")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub chatroom_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub receiver_id: i64,
        pub to_seq: i64,
        pub create_time: i64,
        /// When the row may be claimed.
        pub due_time: i64,
        pub attempts: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
